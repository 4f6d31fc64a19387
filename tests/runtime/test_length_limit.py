"""max_length_factor: a limit for each sentence, the same alone, in a batch and on every way."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfm.runtime import Translator
from tfm.runtime.options import LEAST_LIMIT, DecodingOptions

SENTENCES = [
    "好",
    "我爱你。",
    "今天天气很好，我们明天去北京。",
    "如果明天不下雨，我们就和孩子们一起去公园里放风筝，然后回家吃晚饭。",
]


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator(intra_threads=1)


@given(st.integers(1, 500), st.integers(1, 300), st.integers(0, 300), st.integers(1, 600))
def test_the_limit_is_the_factor_times_the_source_within_the_others(
    hundredths: int, max_length: int, min_length: int, source_length: int
) -> None:
    min_length = min(min_length, max_length)
    options = DecodingOptions(
        max_length_factor=hundredths / 100, max_length=max_length, min_length=min_length
    )
    limit = options.length_limit(source_length)
    assert min_length <= limit <= max_length
    scaled = -(-hundredths * source_length // 100)
    assert limit == sorted((max(scaled, LEAST_LIMIT, min_length), max_length))[0]


@pytest.mark.parametrize(
    "options", [{}, {"beam_size": 1}, {"temperature": 1.0, "seed": 4}, {"no_repeat_ngram_size": 3}]
)
@pytest.mark.parametrize("factor", [0.4, 0.8])
def test_alone_in_a_batch_streamed_and_with_a_timeout(
    translator: Translator, factor: float, options: dict[str, Any]
) -> None:
    options = {"max_length_factor": factor, "min_length": 9, **options}
    together = translator.translate_batch(SENTENCES, **options)
    alone = [translator.translate(sentence, **options) for sentence in SENTENCES]
    assert [t.text for t in together] == [t.text for t in alone]
    timed = translator.translate_batch(SENTENCES, timeout=1e6, **options)
    assert [t.text for t in timed] == [t.text for t in together]
    streamed = ["".join(translator.stream(sentence, **options)) for sentence in SENTENCES]
    assert streamed == [t.text for t in together]
    sources = translator.tokenizer.encode(SENTENCES)
    for translation, source in zip(together, sources, strict=True):
        limit = max(LEAST_LIMIT, 9, math.ceil(round(factor * len(source), 3)))
        (hypothesis,) = translation.hypotheses
        assert 9 <= len(hypothesis.tokens) <= limit
        assert hypothesis.truncated == (len(hypothesis.tokens) == limit)
    assert together[-1].hypotheses[0].truncated


def test_a_limit_that_nothing_reaches_changes_nothing(translator: Translator) -> None:
    expected = translator.translate_batch(SENTENCES)
    found = translator.translate_batch(SENTENCES, max_length_factor=10.0)
    assert [t.text for t in found] == [t.text for t in expected]


def test_one_limit_and_no_unknown_token_are_for_the_graphs(
    translator: Translator, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="tfm.runtime"):
        translator.translate(SENTENCES[2], max_length_factor=0.5, suppress_unk=True)
        translator.translate_batch(SENTENCES, max_length_factor=0.5)
    reasons = [r.getMessage() for r in caplog.records if r.levelname == "INFO"]
    assert reasons == [
        "translate.onnx runs the whole search",
        "step by step: translate.onnx does not support max_length_factor",
    ]


def test_the_warning_names_both_limits(
    translator: Translator, caplog: pytest.LogCaptureFixture
) -> None:
    translator.translate_batch(SENTENCES, max_length_factor=0.1, beam_size=1)
    assert "translations stopped at their limit, so their ends may be missing" in caplog.text
    assert "raise max_length and max_length_factor" in caplog.text
