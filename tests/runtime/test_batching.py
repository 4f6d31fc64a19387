"""Batches: within the budget, each sentence once, and the cheapest there are."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tfm.runtime.batching import STEP_COST, batches


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
