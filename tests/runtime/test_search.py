"""Beam search against brute force, against a literal scalar loop, and by hand."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tfm.runtime.errors import ModelError
from tfm.runtime.search import Candidates, ScoredIds, SearchOptions, search

BOS, EOS = 0, 1
Distribution = Callable[[tuple[int, ...]], NDArray[np.float32]]  # prefix -> [V] log-probs


class ToyDecoder:
    """A decoder whose cache is the prefix of every beam and whose memory is a distribution."""

    def __init__(self, sentences: list[Distribution], beam_size: int) -> None:
        self.memory = list(sentences)
        self.cache: list[list[tuple[int, ...]]] = [[()] * beam_size for _ in sentences]
        self.batch_sizes: list[int] = []

    def step(
        self,
        target_ids: NDArray[np.int64],
        beam_origin: NDArray[np.int64],
        scores: NDArray[np.float32],
    ) -> Candidates:
        batch_size, beam_size = scores.shape
        assert target_ids.dtype == beam_origin.dtype == np.int64
        assert scores.dtype == np.float32
        assert len(self.memory) == batch_size
        assert target_ids.shape == beam_origin.shape == (batch_size, beam_size)
        self.batch_sizes.append(batch_size)
        self.cache = [
            [(*before[origin], token) for origin, token in zip(origins, tokens, strict=True)]
            for before, origins, tokens in zip(
                self.cache, beam_origin.tolist(), target_ids.tolist(), strict=True
            )
        ]
        log_probs = np.stack(
            [
                [language(prefix[1:]) for prefix in beams]
                for language, beams in zip(self.memory, self.cache, strict=True)
            ]
        )  # [B, K, V]
        vocab_size = log_probs.shape[2]
        totals = (scores[:, :, None] + log_probs).reshape(batch_size, -1)
        best = np.argsort(-totals, axis=1, kind="stable")[:, : 2 * beam_size]
        origins, ids = np.divmod(best, vocab_size)
        return Candidates(np.take_along_axis(totals, best, axis=1), ids, origins)

    def keep(self, sentences: NDArray[np.int64]) -> None:
        self.memory = [self.memory[sentence] for sentence in sentences]
        self.cache = [self.cache[sentence] for sentence in sentences]


def toy_language(seed: int, vocab_size: int, eos_bonus: float = 0.0) -> Distribution:
    """A random language: every prefix has its own distribution over the next token."""

    def log_probs(prefix: tuple[int, ...]) -> NDArray[np.float32]:
        logits = np.random.default_rng([seed, *prefix, len(prefix)]).normal(size=vocab_size)
        logits[BOS] -= 9
        logits[EOS] += eos_bonus
        return np.asarray(logits - np.log(np.exp(logits).sum()), dtype=np.float32)

    return log_probs


def table(rows: dict[str, dict[str, float]]) -> Distribution:
    """A language of the tokens a and b from probabilities by prefix; "." is EOS.

    What no row mentions is impossible: log-probability -inf.
    """
    names = [None, ".", "a", "b"]

    def log_probs(prefix: tuple[int, ...]) -> NDArray[np.float32]:
        row = rows.get("".join(names[token] or "?" for token in prefix), {})
        with np.errstate(divide="ignore"):
            return np.log(np.array([row.get(name or "", 0.0) for name in names], np.float32))

    return log_probs


def run(sentences: list[Distribution], options: SearchOptions) -> list[list[ScoredIds]]:
    decoder = ToyDecoder(sentences, options.beam_size)
    return search(decoder, len(sentences), options, bos_id=BOS, eos_id=EOS)


def spell(hypotheses: list[ScoredIds]) -> list[str]:
    return ["".join("?.ab"[token] for token in hypothesis.ids) for hypothesis in hypotheses]


def brute_force(language: Distribution, vocab_size: int, options: SearchOptions) -> list[ScoredIds]:
    """The best of all token sequences, by rules 5 and 7 alone."""
    tokens = [token for token in range(vocab_size) if token != EOS]
    found = []
    for count in range(options.max_length + 1):
        for ids in itertools.product(tokens, repeat=count):
            total = sum(float(language(ids[:i])[token]) for i, token in enumerate(ids))
            length = count
            if count < options.max_length:
                total += float(language(ids)[EOS])
                length += 1
            found.append(ScoredIds(ids, total / length**options.length_penalty))
    return sorted(found, key=lambda hypothesis: -hypothesis.score)[: options.num_hypotheses]


def scalar_search(language: Distribution, options: SearchOptions) -> list[ScoredIds]:
    """One sentence by loops over slots: a finished slot is refilled from the reserve."""
    size = options.beam_size
    beams: list[tuple[tuple[int, ...], np.float32]] = [((), np.float32(0))]
    finished: list[ScoredIds] = []
    best_was_eos = False
    for length in range(1, options.max_length + 1):
        last = length == options.max_length
        candidates = sorted(
            (
                (-(score + log_prob), place, token)
                for place, (prefix, score) in enumerate(beams)
                for token, log_prob in enumerate(language(prefix))
            ),
        )[: 2 * size]
        reserve = [c for c in candidates[size:] if c[2] != EOS]
        slots = []
        for rank, (cost, place, token) in enumerate(candidates[:size]):
            prefix = beams[place][0]
            if token == EOS or last:
                best_was_eos |= rank == 0
                ids = prefix if token == EOS else (*prefix, token)
                finished.append(ScoredIds(ids, -float(cost) / length**options.length_penalty))
                if reserve:
                    cost, place, token = reserve.pop(0)
                    slots.append(((*beams[place][0], token), -cost))
            else:
                slots.append(((*prefix, token), -cost))
        enough = len(finished) >= size
        if options.length_penalty == 0:
            enough = best_was_eos and len(finished) >= options.num_hypotheses
        if last or enough:
            break
        beams = sorted(slots, key=lambda beam: -beam[1])
    return sorted(finished, key=lambda hypothesis: -hypothesis.score)[: options.num_hypotheses]


def assert_same(found: list[ScoredIds], expected: list[ScoredIds]) -> None:
    assert [h.ids for h in found] == [h.ids for h in expected]
    assert [h.score for h in found] == pytest.approx([h.score for h in expected], abs=1e-5)


def test_greedy_falls_for_what_beam_search_sees() -> None:
    # Greedy takes a (0.6) and then must take the better of poor ends; b leads to 0.4 * 0.9.
    language = table(
        {
            "": {"a": 0.6, "b": 0.4},
            "a": {".": 0.5, "a": 0.3, "b": 0.2},
            "b": {".": 0.9, "a": 0.05, "b": 0.05},
            "aa": {".": 1.0},
            "ab": {".": 1.0},
            "ba": {".": 1.0},
            "bb": {".": 1.0},
        }
    )
    (greedy,) = run([language], SearchOptions(beam_size=1, max_length=4, length_penalty=0))
    (beam,) = run(
        [language],
        SearchOptions(beam_size=2, num_hypotheses=2, max_length=4, length_penalty=0),
    )
    assert spell(greedy) == ["a"]
    assert greedy[0].score == pytest.approx(math.log(0.3), abs=1e-6)
    assert spell(beam) == ["b", "a"]
    assert beam[0].score == pytest.approx(math.log(0.36), abs=1e-6)


def test_length_counts_eos() -> None:
    language = table({"": {"a": 1.0}, "a": {".": 0.5, "b": 0.5}, "ab": {".": 1.0}})
    (found,) = run(
        [language],
        SearchOptions(beam_size=2, num_hypotheses=2, max_length=5, length_penalty=1.0),
    )
    # Both have probability 0.5: "ab." is 3 tokens long, "a." 2, so the longer scores higher.
    assert spell(found) == ["ab", "a"]
    assert [h.score for h in found] == pytest.approx([math.log(0.5) / 3, math.log(0.5) / 2])


def test_max_length_takes_the_beams_as_they_stand() -> None:
    language = table({"": {"a": 0.9, ".": 0.1}, "a": {"a": 0.6, ".": 0.4}})
    (found,) = run(
        [language],
        SearchOptions(beam_size=2, num_hypotheses=2, max_length=2, length_penalty=1.0),
    )
    assert spell(found) == ["aa", "a"]
    assert [h.score for h in found] == pytest.approx(
        [math.log(0.54) / 2, math.log(0.36) / 2], abs=1e-6
    )


def test_an_empty_hypothesis_is_one() -> None:
    language = table({"": {".": 0.8, "a": 0.2}, "a": {".": 1.0}})
    (found,) = run([language], SearchOptions(beam_size=1, max_length=5))
    assert_same(found, [ScoredIds((), math.log(0.8))])


def test_without_length_penalty_the_best_candidate_may_have_ended_earlier() -> None:
    # Step 1: "." is best. Step 2: "a." finishes second, behind "b" in rank 0: enough for two.
    language = table(
        {
            "": {".": 0.5, "a": 0.2, "b": 0.3},
            "a": {".": 0.55, "a": 0.25, "b": 0.2},
            "b": {"b": 0.9, "a": 0.1},
            "bb": {".": 1.0},
            "ba": {".": 1.0},
        }
    )
    options = SearchOptions(beam_size=2, num_hypotheses=2, max_length=9, length_penalty=0)
    decoder = ToyDecoder([language], 2)
    (found,) = search(decoder, 1, options, bos_id=BOS, eos_id=EOS)
    assert spell(found) == ["", "a"]
    assert len(decoder.batch_sizes) == 2


@pytest.mark.parametrize("length_penalty", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_finds_the_best_of_all(seed: int, length_penalty: float) -> None:
    vocab_size, max_length = 4, 4
    language = toy_language(seed, vocab_size)
    everything = vocab_size**max_length  # no beam is ever dropped, no sentence ends early
    options = SearchOptions(
        beam_size=everything,
        num_hypotheses=10,
        length_penalty=length_penalty,
        max_length=max_length,
    )
    (found,) = run([language], options)
    assert_same(found, brute_force(language, vocab_size, options))


@pytest.mark.parametrize("seed", range(10))
def test_greedy_takes_the_best_token_of_each_step(seed: int) -> None:
    language = toy_language(seed, 8)
    expected: list[int] = []
    while len(expected) < 12 and (token := int(language(tuple(expected)).argmax())) != EOS:
        expected.append(token)
    (found,) = run([language], SearchOptions(beam_size=1, max_length=12))
    assert found[0].ids == tuple(expected)


options_strategy = st.builds(
    lambda beam_size, share, length_penalty, max_length: SearchOptions(
        beam_size=beam_size,
        num_hypotheses=1 + int(share * (beam_size - 1)),
        length_penalty=length_penalty,
        max_length=max_length,
    ),
    beam_size=st.integers(1, 5),
    share=st.floats(0, 1),
    length_penalty=st.sampled_from([0.0, 0.6, 1.0, 2.0]),
    max_length=st.integers(1, 8),
)
seeds_strategy = st.lists(st.integers(0, 10_000), min_size=1, max_size=5)


@settings(deadline=None, max_examples=60)
@given(options=options_strategy, seeds=seeds_strategy, eos_bonus=st.floats(-2, 3))
def test_a_batch_is_each_sentence_alone_by_the_literal_loop(
    options: SearchOptions, seeds: list[int], eos_bonus: float
) -> None:
    languages = [toy_language(seed, 12, eos_bonus) for seed in seeds]
    for language, found in zip(languages, run(languages, options), strict=True):
        assert_same(found, scalar_search(language, options))


@settings(deadline=None, max_examples=40)
@given(options=options_strategy, seeds=seeds_strategy, eos_bonus=st.floats(-2, 3))
def test_hypotheses_are_sorted_distinct_and_score_what_they_say(
    options: SearchOptions, seeds: list[int], eos_bonus: float
) -> None:
    languages = [toy_language(seed, 12, eos_bonus) for seed in seeds]
    for language, found in zip(languages, run(languages, options), strict=True):
        assert len({h.ids for h in found}) == len(found) == options.num_hypotheses
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
        for ids, score in found:
            assert EOS not in ids
            assert len(ids) <= options.max_length
            scored = ids if len(ids) == options.max_length else (*ids, EOS)
            total = sum(float(language(ids[:i])[t]) for i, t in enumerate(scored))
            expected = total / len(scored) ** options.length_penalty
            assert score == pytest.approx(expected, abs=1e-4)


def test_a_sentence_does_not_end_because_its_neighbour_did() -> None:
    first = table({"": {".": 0.6, "b": 0.4}, "b": {".": 0.7, "a": 0.3}, "ba": {".": 1.0}})
    second = table(
        {
            "": {"a": 0.6, ".": 0.4},
            "a": {"b": 0.6, ".": 0.4},
            "ab": {"a": 0.9, "b": 0.1},
            "aba": {".": 1.0},
        }
    )
    options = SearchOptions(beam_size=2, num_hypotheses=2, max_length=9, length_penalty=0)
    found = run([first, second], options)
    assert [spell(hypotheses) for hypotheses in found] == [["", "b"], ["", "aba"]]


def test_finished_sentences_leave_the_batch() -> None:
    short = table({"": {".": 0.9, "a": 0.1}, "a": {".": 1.0}})
    long = table({"a" * n: {"a": 0.9, ".": 0.1} for n in range(6)})
    decoder = ToyDecoder([short, long, short], 1)
    options = SearchOptions(beam_size=1, max_length=6)
    found = search(decoder, 3, options, bos_id=BOS, eos_id=EOS)
    assert [spell(hypotheses) for hypotheses in found] == [[""], ["aaaaaa"], [""]]
    assert decoder.batch_sizes == [3, 1, 1, 1, 1, 1]


def test_a_beam_wider_than_the_vocabulary_keeps_no_dead_hypotheses() -> None:
    language = table({"": {"a": 0.5, ".": 0.5}, "a": {".": 1.0}})
    (found,) = run([language], SearchOptions(beam_size=5, num_hypotheses=5, max_length=4))
    assert spell(found) == ["a", ""]


def test_a_model_that_gives_nan_is_named() -> None:
    def broken(prefix: tuple[int, ...]) -> NDArray[np.float32]:
        return np.full(4, np.nan, np.float32)

    with pytest.raises(ModelError, match="no finite score"):
        run([broken], SearchOptions(beam_size=2, max_length=3))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"beam_size": 0}, "beam_size is 0"),
        ({"num_hypotheses": 0}, "num_hypotheses is 0"),
        ({"num_hypotheses": 5}, "num_hypotheses 5 is more than beam_size 4"),
        ({"max_length": 0}, "max_length is 0"),
        ({"length_penalty": -1.0}, "length_penalty is -1.0"),
        ({"length_penalty": math.nan}, "length_penalty is nan"),
    ],
)
def test_options_out_of_range(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SearchOptions(**{"beam_size": 4, "max_length": 9, **wrong})  # type: ignore[arg-type]
