"""Beam search against brute force, against a literal scalar loop, and by hand."""

import itertools
import math

import numpy as np
import pytest
from helpers.languages import Language, LanguageDecoder
from helpers.scalar_search import scalar_search
from helpers.search_engines import search_by_steps
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tfm.runtime.candidates import best_candidates, log_softmax
from tfm.runtime.errors import ModelError
from tfm.runtime.options import DecodingOptions
from tfm.runtime.search import ScoredIds, search

BOS, EOS = 0, 1


def toy_language(seed: int, vocab_size: int, eos_bonus: float = 0.0) -> Language:
    """A random language: every prefix has its own distribution over the next token."""

    def log_probs(prefix: tuple[int, ...]) -> NDArray[np.float32]:
        logits = np.random.default_rng([seed, *prefix, len(prefix)]).normal(size=vocab_size)
        logits[BOS] -= 9
        logits[EOS] += eos_bonus
        return np.asarray(logits - np.log(np.exp(logits).sum()), dtype=np.float32)

    return log_probs


def table(rows: dict[str, dict[str, float]]) -> Language:
    """A language of the tokens a and b from probabilities by prefix; "." is EOS.

    What no row mentions is impossible: log-probability -inf.
    """
    names = [None, ".", "a", "b"]

    def log_probs(prefix: tuple[int, ...]) -> NDArray[np.float32]:
        row = rows.get("".join(names[token] or "?" for token in prefix), {})
        with np.errstate(divide="ignore"):
            return np.log(np.array([row.get(name or "", 0.0) for name in names], np.float32))

    return log_probs


def run(
    sentences: list[Language], options: DecodingOptions, prefix: tuple[int, ...] = ()
) -> list[list[ScoredIds]]:
    decoder = LanguageDecoder(sentences, options.beam_size)
    return search_by_steps(BOS, EOS, decoder, len(sentences), options, prefix)


def spell(hypotheses: list[ScoredIds]) -> list[str]:
    return ["".join("?.ab"[token] for token in hypothesis.ids) for hypothesis in hypotheses]


def brute_force(language: Language, vocab_size: int, options: DecodingOptions) -> list[ScoredIds]:
    """The best of all token sequences, by the rules max_length and score alone."""
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
    (greedy,) = run([language], DecodingOptions(beam_size=1, max_length=4, length_penalty=0))
    (beam,) = run(
        [language],
        DecodingOptions(beam_size=2, num_hypotheses=2, max_length=4, length_penalty=0),
    )
    assert spell(greedy) == ["a"]
    assert greedy[0].score == pytest.approx(math.log(0.3), abs=1e-6)
    assert spell(beam) == ["b", "a"]
    assert beam[0].score == pytest.approx(math.log(0.36), abs=1e-6)


def test_length_counts_eos() -> None:
    language = table({"": {"a": 1.0}, "a": {".": 0.5, "b": 0.5}, "ab": {".": 1.0}})
    (found,) = run(
        [language],
        DecodingOptions(beam_size=2, num_hypotheses=2, max_length=5, length_penalty=1.0),
    )
    # Both have probability 0.5: "ab." is 3 tokens long, "a." 2, so the longer scores higher.
    assert spell(found) == ["ab", "a"]
    assert [h.score for h in found] == pytest.approx([math.log(0.5) / 3, math.log(0.5) / 2])


def test_max_length_takes_the_beams_as_they_stand() -> None:
    language = table({"": {"a": 0.9, ".": 0.1}, "a": {"a": 0.6, ".": 0.4}})
    (found,) = run(
        [language],
        DecodingOptions(beam_size=2, num_hypotheses=2, max_length=2, length_penalty=1.0),
    )
    assert spell(found) == ["aa", "a"]
    assert [h.score for h in found] == pytest.approx(
        [math.log(0.54) / 2, math.log(0.36) / 2], abs=1e-6
    )


def test_an_empty_hypothesis_is_one() -> None:
    language = table({"": {".": 0.8, "a": 0.2}, "a": {".": 1.0}})
    (found,) = run([language], DecodingOptions(beam_size=1, max_length=5))
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
    options = DecodingOptions(beam_size=2, num_hypotheses=2, max_length=9, length_penalty=0)
    decoder = LanguageDecoder([language], 2)
    (found,) = search(decoder, 1, options, bos_id=BOS, eos_id=EOS)
    assert spell(found) == ["", "a"]
    assert len(decoder.batch_sizes) == 2


@pytest.mark.parametrize("length_penalty", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_finds_the_best_of_all(seed: int, length_penalty: float) -> None:
    vocab_size, max_length = 4, 4
    language = toy_language(seed, vocab_size)
    everything = vocab_size**max_length  # no beam is ever dropped, no sentence ends early
    options = DecodingOptions(
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
    (found,) = run([language], DecodingOptions(beam_size=1, max_length=12))
    assert found[0].ids == tuple(expected)


plain_options = st.builds(
    lambda beam_size, share, **others: DecodingOptions(
        beam_size=beam_size, num_hypotheses=1 + int(share * (beam_size - 1)), **others
    ),
    beam_size=st.integers(1, 5),
    share=st.floats(0, 1),
    length_penalty=st.sampled_from([0.0, 0.6, 1.0, 2.0]),
    max_length=st.integers(1, 8),
)
any_options = st.builds(
    lambda options, **others: options.changed(**others),
    plain_options,
    patience=st.sampled_from([0.3, 1.0, 1.5, 3.0]),
    min_length=st.integers(0, 1),
    suppress_ids=st.sampled_from([(), (4,), (3, 7)]),
    repetition_penalty=st.sampled_from([0.7, 1.0, 1.4]),
    no_repeat_ngram_size=st.integers(0, 3),
)
prefixes = st.sampled_from([(), (5,), (6, 3, 6)])
seeds_strategy = st.lists(st.integers(0, 10_000), min_size=1, max_size=5)


@settings(deadline=None, max_examples=120)
@given(options=any_options, prefix=prefixes, seeds=seeds_strategy, eos_bonus=st.floats(-2, 3))
def test_a_batch_is_each_sentence_alone_by_the_literal_loop(
    options: DecodingOptions, prefix: tuple[int, ...], seeds: list[int], eos_bonus: float
) -> None:
    languages = [toy_language(seed, 12, eos_bonus) for seed in seeds]
    expected = [scalar_search(language, options, EOS, prefix) for language in languages]
    if not all(expected):
        return  # the rules leave no token: an error, see below
    for hypotheses, theirs in zip(run(languages, options, prefix), expected, strict=True):
        assert_same(hypotheses, theirs)


@given(seed=st.integers(0, 10_000), beam_size=st.integers(1, 6), vocab_size=st.integers(2, 40))
def test_candidates_are_those_of_a_stable_sort_of_everything(
    seed: int, beam_size: int, vocab_size: int
) -> None:
    rng = np.random.default_rng(seed)
    # Few different logits, so that there are ties within a beam and between beams.
    logits = rng.integers(-2, 3, (2, beam_size, vocab_size)).astype(np.float32)
    logits[rng.random(logits.shape) < 0.3] = -np.inf
    scores = rng.integers(-1, 1, (2, beam_size)).astype(np.float32)
    totals = (scores[:, :, None] + log_softmax(logits)).reshape(2, -1)
    order = np.argsort(-totals, axis=1, kind="stable")[:, : 2 * beam_size]
    candidates = best_candidates(logits, scores)
    np.testing.assert_array_equal(candidates.scores, np.take_along_axis(totals, order, axis=1))
    np.testing.assert_array_equal(candidates.origins * vocab_size + candidates.ids, order)


def test_rules_that_leave_no_token_are_named() -> None:
    options = DecodingOptions(suppress_ids=tuple(range(12)))
    with pytest.raises(ModelError, match="forbid every token"):
        run([toy_language(1, 12)], options)


@settings(deadline=None, max_examples=40)
@given(options=plain_options, seeds=seeds_strategy, eos_bonus=st.floats(-2, 3))
def test_hypotheses_are_sorted_distinct_and_score_what_they_say(
    options: DecodingOptions, seeds: list[int], eos_bonus: float
) -> None:
    languages = [toy_language(seed, 12, eos_bonus) for seed in seeds]
    for language, found in zip(languages, run(languages, options), strict=True):
        assert len({h.ids for h in found}) == len(found) == options.num_hypotheses
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
        for ids, score, _ in found:
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
    options = DecodingOptions(beam_size=2, num_hypotheses=2, max_length=9, length_penalty=0)
    found = run([first, second], options)
    assert [spell(hypotheses) for hypotheses in found] == [["", "b"], ["", "aba"]]


def test_finished_sentences_leave_the_batch() -> None:
    short = table({"": {".": 0.9, "a": 0.1}, "a": {".": 1.0}})
    long = table({"a" * n: {"a": 0.9, ".": 0.1} for n in range(6)})
    decoder = LanguageDecoder([short, long, short], 1)
    options = DecodingOptions(beam_size=1, max_length=6)
    found = search(decoder, 3, options, bos_id=BOS, eos_id=EOS)
    assert [spell(hypotheses) for hypotheses in found] == [[""], ["aaaaaa"], [""]]
    assert decoder.batch_sizes == [3, 1, 1, 1, 1, 1]


def test_a_beam_wider_than_the_vocabulary_keeps_no_dead_hypotheses() -> None:
    language = table({"": {"a": 0.5, ".": 0.5}, "a": {".": 1.0}})
    (found,) = run([language], DecodingOptions(beam_size=5, num_hypotheses=5, max_length=4))
    assert spell(found) == ["a", ""]


def test_a_model_that_gives_nan_is_named() -> None:
    def broken(prefix: tuple[int, ...]) -> NDArray[np.float32]:
        return np.full(4, np.nan, np.float32)

    with pytest.raises(ModelError, match="no finite score"):
        run([broken], DecodingOptions(beam_size=2, max_length=3))
