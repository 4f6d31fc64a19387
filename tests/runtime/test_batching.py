"""Batches: within the budget, each sentence once, and the cheapest there are."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfm.runtime.batching import STEP_COST, batches, shares, side_by_side


@given(lengths=st.lists(st.integers(1, 50), max_size=40), max_tokens=st.integers(0, 120))
def test_batches_hold_each_sentence_once_within_the_budget(
    lengths: list[int], max_tokens: int
) -> None:
    result = list(batches(lengths, max_tokens))
    assert sorted(i for batch in result for i in batch) == list(range(len(lengths)))
    for batch in result:
        longest = max(lengths[i] for i in batch)
        assert len(batch) == 1 or len(batch) * longest <= max_tokens
    assert result == [] or [lengths[i] for batch in result for i in batch] == sorted(
        lengths, reverse=True
    )


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8))
def test_batches_are_the_cheapest_there_are(lengths: list[int]) -> None:
    ordered = sorted(lengths, reverse=True)
    every_cut = itertools.product([False, True], repeat=len(ordered) - 1)
    ways = [[0, *(i for i, cut in enumerate(cuts, 1) if cut), len(ordered)] for cuts in every_cut]
    costs = [
        sum(ordered[a] * (b - a + STEP_COST) for a, b in itertools.pairwise(way)) for way in ways
    ]
    result = list(batches(lengths, 10**6))
    assert sum(lengths[batch[0]] * (len(batch) + STEP_COST) for batch in result) == min(costs)


@given(
    lengths=st.lists(st.integers(1, 50), max_size=40),
    max_tokens=st.integers(1, 400),
    beam_size=st.integers(1, 5),
    threads=st.integers(1, 5),
)
def test_batches_side_by_side_hold_each_sentence_once_within_the_budget(
    lengths: list[int], max_tokens: int, beam_size: int, threads: int
) -> None:
    result = side_by_side(lengths, max_tokens, beam_size, threads)
    assert sorted(i for batch in result for i in batch) == list(range(len(lengths)))
    for batch in result:
        size = len(batch) * max(lengths[i] for i in batch) * beam_size
        assert len(batch) == 1 or size * threads <= max_tokens
    if threads == 1:
        assert result == list(batches(lengths, max_tokens // beam_size))


@pytest.mark.parametrize(
    ("sentences", "beam_size", "threads", "sizes"),
    [
        (1, 1, 8, [1]),
        (1, 4, 8, [1]),
        (2, 1, 2, [2]),  # a step of one costs nearly as much as one of two
        (8, 1, 2, [8]),
        (16, 1, 2, [8, 8]),
        (16, 1, 4, [8, 8]),
        (64, 1, 4, [16, 16, 16, 16]),
        (2, 4, 2, [2]),
        (4, 4, 2, [2, 2]),
        (25, 4, 3, [8, 8, 9]),
        (0, 4, 3, []),
    ],
)
def test_as_many_shares_as_pay(
    sentences: int, beam_size: int, threads: int, sizes: list[int]
) -> None:
    assert sorted(map(len, shares([25] * sentences, beam_size, threads))) == sizes


@given(lengths=st.lists(st.integers(20, 60), min_size=64, max_size=64), threads=st.integers(2, 4))
def test_shares_cost_about_the_same(lengths: list[int], threads: int) -> None:
    result = shares(lengths, 4, threads)
    assert len(result) == threads
    tokens = [sum(lengths[i] for i in share) for share in result]
    assert max(tokens) - min(tokens) <= 2 * max(lengths)
