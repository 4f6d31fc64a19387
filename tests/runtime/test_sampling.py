"""Sampling: what is drawn from, how often, and that a seed settles it."""

import math
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from helpers.languages import LanguageDecoder
from numpy.typing import NDArray
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from tfm.runtime import Translator
from tfm.runtime.decode import decode
from tfm.runtime.errors import ModelError
from tfm.runtime.options import DecodingOptions
from tfm.runtime.sampling import kept_logits

EOS, BOS = 3, 2


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(0.7, 0, 1.0), (1.0, 4, 1.0), (1.0, 1, 1.0), (1.0, 0, 0.6), (2.0, 10, 0.9), (0.3, 3, 1e-9)],
)
def test_what_is_drawn_from_is_what_transformers_draws_from(
    temperature: float, top_k: int, top_p: float
) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (5, 40)).astype(np.float32)
    scores = TemperatureLogitsWarper(temperature)(None, torch.tensor(logits, dtype=torch.float64))
    if top_k:
        scores = TopKLogitsWarper(top_k)(None, scores)
    if top_p < 1:
        scores = TopPLogitsWarper(top_p)(None, scores)
    options = DecodingOptions(temperature=temperature, top_k=top_k, top_p=top_p)
    expected = scores - scores.max(dim=-1, keepdim=True).values
    np.testing.assert_allclose(kept_logits(logits, options), expected.numpy(), atol=1e-6)


def coin(tokens: tuple[int, ...]) -> NDArray[np.float32]:
    """Token 4 with probability 1/2, 5 with 3/8, EOS with 1/8; never another."""
    logits = np.full(6, -np.inf, np.float32)
    logits[[4, 5, EOS]] = np.log([1 / 2, 3 / 8, 1 / 8])
    return logits


def draws(options: DecodingOptions, sources: list[list[int]]) -> list[list[tuple[int, ...]]]:
    decoder = LanguageDecoder([coin] * len(sources), options.num_hypotheses)
    results = decode(decoder, sources, options, bos_id=BOS, eos_id=EOS)
    return [[hypothesis.ids for hypothesis in hypotheses] for hypotheses in results]


def test_texts_come_as_often_as_they_are_probable() -> None:
    options = DecodingOptions(
        temperature=1.0, max_length=2, beam_size=1000, num_hypotheses=1000, seed=5
    )
    counts = Counter(ids for row in draws(options, [[i, EOS] for i in range(6)]) for ids in row)
    one = {(4,): 1 / 2, (5,): 3 / 8, (): 1 / 8}
    expected = {
        (*first, *second): p * q for first, p in one.items() if first for second, q in one.items()
    } | {(): 1 / 8}
    assert counts.keys() == expected.keys()
    for ids, probability in expected.items():
        deviation = math.sqrt(6000 * probability * (1 - probability))
        assert abs(counts[ids] - 6000 * probability) < 4 * deviation, ids


def test_scores_are_the_models_own_log_probabilities() -> None:
    options = DecodingOptions(
        temperature=3.0, top_k=2, max_length=1, num_hypotheses=4, length_penalty=0.0
    )
    decoder = LanguageDecoder([coin], 4)
    (hypotheses,) = decode(decoder, [[9, EOS]], options, bos_id=BOS, eos_id=EOS)
    probabilities = {(4,): 1 / 2, (5,): 3 / 8}
    for hypothesis in hypotheses:
        assert hypothesis.score == pytest.approx(math.log(probabilities[hypothesis.ids]), abs=1e-6)
    assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)


def test_a_seed_settles_the_text_whatever_the_batch() -> None:
    options = DecodingOptions(temperature=1.0, max_length=20, num_hypotheses=3)
    sources = [[5, EOS], [6, 7, EOS], [8, EOS], [5, 6, EOS]]
    together = draws(options, sources)
    assert together == [draws(options, [source])[0] for source in sources]
    assert len({tuple(row) for row in together}) == 4
    assert draws(options, sources[::-1]) == together[::-1]
    assert draws(options.changed(seed=1), sources) != together


def test_a_temperature_next_to_nothing_is_greedy_search() -> None:
    options = DecodingOptions(temperature=5e-324, max_length=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draws(options, [[9, EOS]]) == [[(4, 4, 4)]]


def test_forbidding_every_token_is_an_error() -> None:
    options = DecodingOptions(temperature=1.0, suppress_ids=(3, 4, 5))
    with pytest.raises(ModelError, match="no finite score"):
        draws(options, [[9, EOS]])


def test_the_translator_samples() -> None:
    translator = Translator(intra_threads=1)
    sentences = ["我爱你。", "今天天气很好。", "他每天早上六点起床。"]
    first = translator.translate_batch(sentences, temperature=1.0, num_hypotheses=3)
    again = [
        translator.translate(sentence, temperature=1.0, num_hypotheses=3) for sentence in sentences
    ]
    assert [t.hypotheses for t in first] == [t.hypotheses for t in again]
    other = translator.translate_batch(sentences, temperature=1.0, num_hypotheses=3, seed=1)
    assert [t.text for t in other] != [t.text for t in first]
    greedy = translator.translate_batch(sentences, beam_size=1)
    nearly = translator.translate_batch(sentences, temperature=0.001)
    assert [t.text for t in nearly] == [t.text for t in greedy]


def test_temperature_0_ends_sampling() -> None:
    options = DecodingOptions(temperature=1.0, top_k=3, top_p=0.5, seed=4)
    assert options.changed(temperature=0.0) == DecodingOptions()
    with pytest.raises(ValueError, match="set temperature above 0"):
        options.changed(temperature=0.0, top_k=2)
