"""Doubts: each sign is seen where it is, and not where all is well."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers.command import tfm

from tfm.runtime import DecodingOptions, Hypothesis, Translation, Translator
from tfm.runtime.alignment import unattended_share
from tfm.runtime.doubts import DOUBTS, find_doubts, has_failed, with_penalty

GOOD = range(10)  # tokens that do not repeat


def doubts(
    source: str,
    text: str,
    *,
    target: str = "en",
    tokens: Sequence[int] = GOOD,
    score: float = -0.3,
    source_length: int = 10,
    truncated: bool = False,
    length_penalty: float = 1.0,
    unattended: float = 0.1,
) -> tuple[str, ...]:
    hypothesis = Hypothesis(text, score, tuple(tokens), truncated)
    options = DecodingOptions(length_penalty=length_penalty)
    translation = Translation(source, (hypothesis,))
    return find_doubts(translation, source_length, target, options, unattended)


def test_a_good_translation_is_not_doubted() -> None:
    assert doubts("我有2本书，3支笔。", "I have 2 books and 3 pens.") == ()
    assert doubts("一千", "1,000") == ()  # words may become digits
    assert doubts("１，０００元", "1000 yuan") == ()
    assert doubts("I stayed 3 days.", "我住了三天。", target="zh") == ()
    assert doubts("好", "OK", tokens=(5,), source_length=2) == ()
    assert doubts("是，是，是，是。", "Yes, yes, yes, yes.", tokens=(5, 6, 5, 6, 5, 6)) == ()


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("truncated", {"truncated": True}),
        ("empty", {"text": " "}),
        ("loop", {"tokens": (4, 7, 7, 7, 7, 7, 7, 7, 8)}),
        ("loop", {"tokens": (4, 7, 8, 9, 7, 8, 9, 7, 8, 9, 5)}),
        ("script", {"text": "这是中文。"}),
        ("script", {"text": "This is still English.", "target": "zh"}),
        ("numbers", {"source": "他有15本书。", "text": "He has 50 books."}),
        ("numbers", {"source": "电话13812345678", "text": "Phone 1381234567"}),
        ("numbers", {"source": "30天", "text": "days"}),
        ("numbers", {"source": "3天", "text": "3 or 40 days"}),
        ("length", {"tokens": range(40)}),
        ("length", {"source_length": 60}),
        ("attention", {"unattended": 0.8}),
        ("probability", {"score": -1.2}),
        ("probability", {"score": -20.0, "length_penalty": 0.0}),
    ],
)
def test_each_sign_is_seen(name: str, facts: dict[str, object]) -> None:
    usual: dict[str, object] = {"source": "一本书", "text": "a book"}
    found = doubts(**{**usual, **facts})  # type: ignore[arg-type]
    assert found == (name,)


def test_every_sign_is_tried_above() -> None:
    names = {mark.args[1][i][0] for mark in test_each_sign_is_seen.pytestmark for i in range(14)}
    assert names == DOUBTS.keys()


def test_without_a_score_the_probability_says_nothing() -> None:
    assert doubts("好", "OK", score=float("nan")) == ()


def test_the_translator_looks_only_if_asked() -> None:
    translator = Translator(intra_threads=1)
    sentences = ["我爱你。", "", "巴洛克式的觱篥与洛可可式的氍毹交相辉映，蔚为大观。"]
    plain = translator.translate_batch(sentences, beam_size=1, with_scores=False)
    assert [t.doubts for t in plain] == [(), (), ()]
    looked = translator.translate_batch(sentences, beam_size=1, with_doubts=True)
    assert [t.doubts for t in looked] == [(), (), ("attention", "probability")]
    assert [t.text for t in looked] == [t.text for t in plain]
    cut = translator.translate(sentences[2], max_length=3, with_doubts=True)
    assert "truncated" in cut.doubts


def test_tfm_run_says_them_on_stderr() -> None:
    stdin = "我爱你。\n巴洛克式的觱篥与洛可可式的氍毹交相辉映，蔚为大观。\n"
    status, stdout, stderr = tfm("run", "--doubts", "--beam-size", "1", stdin=stdin)
    assert status == 0
    looks = "it looks at little of the sentence"
    assert stderr.startswith(f"line 2: {looks}, the model gives it a low probability: ")
    assert stdout == tfm("run", "--beam-size", "1", stdin=stdin)[1]
    assert stderr.count("line ") == 1


def test_loops_are_searched_for_once_more(tiny_folder: Path) -> None:
    """The random model repeats itself: with the penalty it does not, and says that it is another
    translation. Others stay as they were."""
    translator = Translator(tiny_folder, variant="fp32")
    sentences = ["three two one", "four", ""]
    usual = translator.translate_batch(sentences, max_length=40)
    assert has_failed(sentences[0], usual[0].hypotheses[0])
    found = translator.translate_batch(sentences, max_length=40, with_doubts=True)
    for sentence, before, after in zip(sentences, usual, found, strict=True):
        failed = bool(sentence) and has_failed(sentence, before.hypotheses[0])
        assert after.retried == failed
        assert "loop" not in after.doubts
        assert failed or after.text == before.text


def test_a_second_search_that_fails_too_changes_nothing(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = Translator(tiny_folder, variant="fp32")
    usual = translator.translate("three two one", max_length=40)
    monkeypatch.setattr("tfm.runtime.text_translator.with_penalty", lambda options: options)
    found = translator.translate("three two one", max_length=40, with_doubts=True)
    assert (found.text, found.retried) == (usual.text, False)
    assert "loop" in found.doubts


def test_options_of_the_second_search() -> None:
    options = with_penalty(DecodingOptions(max_length=5, repetition_penalty=1.5))
    assert (options.no_repeat_ngram_size, options.repetition_penalty) == (3, 1.5)
    assert options.min_length == 1
    assert with_penalty(DecodingOptions(no_repeat_ngram_size=2)).no_repeat_ngram_size == 2


def test_what_the_translation_hardly_looks_at(tiny_folder: Path) -> None:
    """Of the model's own attention; an empty sentence has none."""
    translator = Translator(tiny_folder, variant="fp32")
    sentences = ["three two", ""]
    found = translator.translate_batch(sentences, max_length=6)
    tokens = [translation.hypotheses[0].tokens for translation in found]
    share, nothing = translator._pairs.unattended(sentences, tokens)
    score = translator.score_batch(["three two"], [found[0].text], with_attention=True)[0]
    assert score.attention is not None and math.isnan(nothing)
    assert share == pytest.approx(unattended_share(score.attention.cross), abs=0.2)
    cross = np.zeros((1, 2, 2, 4), np.float32)
    cross[:, :, 0, 1] = 0.9
    cross[:, :, 1, 2] = 0.2
    assert unattended_share(cross) == pytest.approx(2 / 3)
