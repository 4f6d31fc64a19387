"""Beam search with phrases that must appear, against brute force and by hand."""

import itertools
import math

import numpy as np
import pytest
from helpers.languages import Language, LanguageDecoder
from numpy.typing import NDArray

from tfm.runtime.options import DecodingOptions
from tfm.runtime.phrase_constraints import ForcedPhrase, PhraseConstraints, WordEdges
from tfm.runtime.search import ScoredIds, finish, search_steps

BOS, EOS = 0, 1
VOCABULARY = 6
NO_WORDS = WordEdges(np.zeros(VOCABULARY, bool), np.zeros(VOCABULARY, bool), {})

Phrases = list[tuple[int, ...]]


def random_language(seed: int) -> Language:
    def log_probs(prefix: tuple[int, ...]) -> NDArray[np.float32]:
        logits = np.random.default_rng([seed, *prefix, len(prefix)]).normal(0, 2, VOCABULARY)
        logits[BOS] -= 9
        return np.asarray(logits - np.log(np.exp(logits).sum()), dtype=np.float32)

    return log_probs


def forced(*spellings: tuple[int, ...]) -> ForcedPhrase:
    return ForcedPhrase("?", spellings)


def run(
    languages: list[Language],
    phrases: list[list[ForcedPhrase]],
    options: DecodingOptions,
    edges: WordEdges = NO_WORDS,
    prefix: tuple[int, ...] = (),
) -> list[list[ScoredIds]]:
    return finish(
        search_steps(
            LanguageDecoder(languages, options.beam_size),
            len(languages),
            options,
            bos_id=BOS,
            eos_id=EOS,
            target_prefix=np.tile(np.array(prefix, np.int64), (len(languages), 1)),
            choose=PhraseConstraints(
                phrases, edges, EOS, [len(prefix) + options.max_length] * len(phrases)
            ),
        )
    )


def contains(ids: tuple[int, ...], phrase: tuple[int, ...]) -> bool:
    return any(ids[i : i + len(phrase)] == phrase for i in range(len(ids) - len(phrase) + 1))


def brute_force(language: Language, phrases: Phrases, options: DecodingOptions) -> float:
    """The score of the best sequence that has all phrases, EOS counted below max_length."""
    best = -math.inf
    for count in range(options.max_length + 1):
        end = [EOS] if count < options.max_length else []
        for ids in itertools.product([0, 2, 3, 4, 5], repeat=count):
            if all(contains(ids, phrase) for phrase in phrases):
                tokens = [*ids, *end]
                total = sum(float(language(ids[:i])[token]) for i, token in enumerate(tokens))
                best = max(best, total / len(tokens) ** options.length_penalty)
    return best


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("phrases", [[(2,)], [(3, 4)], [(2, 2), (5,)], [(2, 3), (3, 4)]])
def test_a_wide_beam_finds_what_brute_force_finds(seed: int, phrases: Phrases) -> None:
    options = DecodingOptions(beam_size=700, max_length=5, length_penalty=1.0)
    language = random_language(seed)
    ((best,),) = run([language], [[forced(phrase) for phrase in phrases]], options)
    assert all(contains(best.ids, phrase) for phrase in phrases)
    assert best.score == pytest.approx(brute_force(language, phrases, options), abs=1e-5)


@pytest.mark.parametrize("beam_size", [1, 2, 8])
def test_a_narrow_beam_has_every_phrase_too(beam_size: int) -> None:
    """Alone or beside sentences that have none, whose results stay what they were."""
    options = DecodingOptions(beam_size=beam_size, max_length=30)
    languages = [random_language(seed) for seed in range(12)]
    rng = np.random.default_rng(0)
    phrases: list[Phrases] = [
        [tuple(rng.integers(2, VOCABULARY, rng.integers(1, 4)).tolist()) for _ in range(index % 4)]
        for index in range(12)
    ]
    own = [[forced(phrase) for phrase in of_one] for of_one in phrases]
    together = run(languages, own, options)
    plain = finish(
        search_steps(LanguageDecoder(languages, beam_size), 12, options, bos_id=BOS, eos_id=EOS)
    )
    for index, (best, *_) in enumerate(together):
        assert all(contains(best.ids, phrase) for phrase in phrases[index])
        ((alone, *_),) = run([languages[index]], [own[index]], options)
        assert alone.ids == best.ids
        if not phrases[index]:
            assert best.ids == plain[index][0].ids
            assert best.score == pytest.approx(plain[index][0].score, abs=1e-5)


def test_a_phrase_that_cannot_be_met_ends_all_the_same() -> None:
    """Because it is longer than allowed, or because its tokens are impossible."""
    language = random_language(3)
    options = DecodingOptions(beam_size=3, max_length=4)
    ((best,),) = run([language], [[forced((2, 2, 2, 2, 2))]], options)
    assert len(best.ids) == 4

    def without_five(prefix: tuple[int, ...]) -> NDArray[np.float32]:
        log_probs = language(prefix).copy()
        log_probs[5] = -np.inf
        return log_probs

    ((best,),) = run([without_five], [[forced((5,))]], options)
    assert 5 not in best.ids and len(best.ids) == 4


def test_a_phrase_in_the_prefix_counts() -> None:
    language = random_language(1)
    options = DecodingOptions(beam_size=2, max_length=8)
    ((best,),) = run([language], [[forced((2, 3))]], options, prefix=(2, 3))
    ((plain,),) = run([language], [[]], options, prefix=(2, 3))
    assert best.ids == plain.ids


def test_any_spelling_will_do() -> None:
    options = DecodingOptions(beam_size=700, max_length=5)
    for seed in range(3):
        language = random_language(seed)
        ((best,),) = run([language], [[forced((2, 3), (4,))]], options)
        scores = [brute_force(language, [spelling], options) for spelling in ((2, 3), (4,))]
        assert best.score == pytest.approx(max(scores), abs=1e-5)


def test_a_phrase_is_no_part_of_a_longer_word() -> None:
    """cat(2) and s(4) are parts of words, ▁(3) and ▁cat(5) begin one: cats is no cat, and neither
    is bobcat."""
    edges = WordEdges.of(["", "</s>", "cat", "▁", "s", "▁cat"])
    assert edges.continues.tolist() == [False, False, True, False, True, False]
    assert edges.ends_open.tolist() == [False, False, True, False, True, True]
    constraints = PhraseConstraints([[forced((5,), (2,))]], edges, EOS, [99])
    assert not constraints.progress(0, (5, 4)).is_complete
    assert not constraints.progress(0, (4, 2)).is_complete
    assert constraints.progress(0, (5, 3)).is_complete
    after = constraints.progress(0, (3, 2))
    assert after.is_complete and after.word_ended
    assert constraints.progress(0, (4,)).next_ids == (5,)
    assert constraints.progress(0, (3,)).next_ids == (2, 5)
    for seed in range(5):
        options = DecodingOptions(beam_size=4, max_length=12)
        ((best,),) = run([random_language(seed)], [[forced((5,), (2,))]], options, edges)
        assert constraints.progress(0, best.ids).is_complete


def test_a_letter_in_bytes_goes_on_with_a_word() -> None:
    """ö is <0xC3><0xB6>, a letter of words; 王 is <0xE7><0x8E><0x8B>, which ends one."""
    names = ["", "</s>", "cat", "<0xC3>", "<0xB6>", "<0xE7>", "<0x8E>", "<0x8B>"]
    edges = WordEdges.of(names)
    assert edges.continues.tolist() == [False, False, True, True, False, False, False, False]
    constraints = PhraseConstraints([[forced((2,))]], edges, EOS, [99])
    assert constraints.progress(0, (2,)).word_ended
    assert not constraints.progress(0, (2, 3, 4)).is_complete
    assert not constraints.progress(0, (3, 4, 2)).is_complete
    assert constraints.progress(0, (2, 5, 6, 7)).is_complete
    assert constraints.progress(0, (5, 6, 7, 2)).is_complete
    umlaut = PhraseConstraints([[forced((2, 3, 4))]], edges, EOS, [99])
    assert umlaut.progress(0, (2, 3, 4)).word_ended
    assert not umlaut.progress(0, (2, 3, 4, 2)).is_complete


def test_progress_counts_tokens_of_phrases() -> None:
    constraints = PhraseConstraints([[forced((2, 3, 4)), forced((3, 5))]], NO_WORDS, EOS, [99])
    expected = {
        (): (0, (2, 3)),
        (2,): (1, (2, 3)),
        (2, 3): (2, (2, 3, 4)),  # further on with the first than with the second
        (2, 3, 4): (3, (3,)),
        (2, 3, 5): (2, (2,)),
        (2, 3, 5, 2): (3, (2, 3)),
        (5, 5): (0, (2, 3)),
        (3, 5, 2, 3, 4): (5, ()),
    }
    for ids, (tokens, next_ids) in expected.items():
        found = constraints.progress(0, ids)
        assert (found.tokens, found.next_ids) == (tokens, next_ids), ids
        assert found.is_complete == (tokens == 5)
