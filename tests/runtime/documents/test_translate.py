"""Translator.translate_document: every sentence is translated as it would be alone."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tfm.runtime import Translator
from tfm.runtime.documents import parse_html, parse_text
from tfm.runtime.documents.document import Segment
from tfm.runtime.documents.translate import patterns_of, translate_segments
from tfm.runtime.placeholders import PlaceholderPatterns


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator(intra_threads=1)


TEXT = "# 你好\n\n  今天天气很好。我们走吧！\n\n12:30\n他问：“你来吗？”\n"


def test_sentences_are_translated_as_they_would_be_alone(translator: Translator) -> None:
    calls: list[tuple[int, int]] = []
    result = translator.translate_document(TEXT, progress=lambda *done: calls.append(done))
    sentences = [segment.text for segment in parse_text(TEXT, "zh", "en").segments]
    alone = [t.text for t in translator.translate_batch(sentences)]
    assert [t.text for t in result.translations] == alone
    assert result.text == "# {}\n\n  {} {}\n\n12:30\n{}\n".format(*alone)
    assert [TEXT[s.begin : s.end] for s in result.segments] == sentences
    assert calls == [(4, 4)] and result.notes == ()


def test_markup_goes_where_its_words_went(translator: Translator) -> None:
    html = "<p>我住在<b>北京</b>。</p>"
    result = translator.translate_document(html, "html")
    assert re.search("<b>(in )?Beijing</b>", result.text)
    assert parse_html(html, "zh", "en").segments == result.segments


def test_placeholders_stay(translator: Translator) -> None:
    text = "我今天去%(place)s。"
    segments = [Segment(text, 0, len(text), placeholders=("%(place)s",)), Segment("你好", 20, 22)]
    ((first, second),) = translate_segments(translator, segments)
    assert first.text.count("%(place)s") == 1 and "%" not in second.text


@pytest.mark.parametrize(
    ("always", "expected"),
    [
        (PlaceholderPatterns(["numbers"], [r"ID \w"]), ["%(a)s", "ID x", "5"]),
        (PlaceholderPatterns([]), ["%(a)s"]),
        (None, ["%(a)s"]),
    ],
)
def test_placeholders_of_a_caller_stay_too(
    always: PlaceholderPatterns | None, expected: list[str]
) -> None:
    """Where sentences have some of their own."""
    asked: list[PlaceholderPatterns] = []

    def translate_batch(sentences: list[str], *, placeholders: PlaceholderPatterns) -> list[str]:
        asked.append(placeholders)
        return sentences

    translator: Any = SimpleNamespace(
        config=SimpleNamespace(alignment=None), translate_batch=translate_batch
    )
    segment = Segment("%(a)s 好", 0, 7, placeholders=("%(a)s",))
    list(translate_segments(translator, [segment], placeholders=always))
    text = "%(a)s: ID x, 5, {b}"
    assert [found.text for found in asked[0].find(text)] == expected
    assert [found.text for found in patterns_of([segment]).find(text)] == ["%(a)s", "{b}"]


def test_what_was_wrong_is_said(translator: Translator) -> None:
    result = translator.translate_document("我们今天去公园玩，然后回家。", max_length=3)
    assert result.notes == (
        "characters 0 to 14: its translation stopped at max_length, its end is missing",
    )
    with pytest.raises(ValueError, match="no format 'pdf'"):
        translator.translate_document("", "pdf")
    with pytest.raises(TypeError, match="no_option"):
        translator.translate_document("你好", no_option=1)


def test_the_splitter_and_the_format_have_their_options(translator: Translator) -> None:
    result = translator.translate_document("你好。再见。", split=lambda text: [(0, len(text))])
    assert [segment.text for segment in result.segments] == ["你好。再见。"]
    cue = "1\n00:00:01,000 --> 00:00:09,000\n我昨天在火车站看见了一个老朋友。\n"
    result = translator.translate_document(cue, "srt", format_options={"line_length": 12})
    assert max(map(len, result.text.splitlines()[2:])) <= 12


def test_an_old_model_without_alignment_translates_html_too(tiny_folder: Path) -> None:
    tiny = Translator(tiny_folder)
    assert tiny.config.alignment is None
    result = tiny.translate_document("<p>one <b>two</b> three</p>", "html", max_length=5)
    assert result.text.count("<b>") == result.text.count("</b>") == 1
