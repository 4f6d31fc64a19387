"""What is not a sentence stays as it was."""

import pytest
from helpers.documents import Said
from hypothesis import given, settings
from hypothesis import strategies as st

from tfm.runtime.documents import parse_text


def translated(text: str, source: str, target: str, **sentences: str) -> str:
    document = parse_text(text, source, target)
    return document.assemble(
        [Said(sentences.get(s.text, s.text.upper())) for s in document.segments]
    )


@settings(max_examples=500)
@given(st.text(alphabet=st.sampled_from([*'。！？.!?"” \n\t\r\u3000-#1我Aa😀']), max_size=80))
def test_untranslated_text_is_as_it_was(text: str) -> None:
    document = parse_text(text, "zh", "en")
    assert document.assemble([Said(segment.text) for segment in document.segments]) == text
    assert all(text[s.begin : s.end] == s.text for s in document.segments)


def test_layout_stays() -> None:
    text = "# 第一章\n\n  - 你好。\r\n  - 再见！\n\n\t12:30  😀\n"
    assert (
        translated(text, "zh", "en", **{"第一章": "One", "你好。": "Hello.", "再见！": "Bye!"})
        == "# One\n\n  - Hello.\r\n  - Bye!\n\n\t12:30  😀\n"
    )


def test_between_sentences_is_what_the_target_language_has_there() -> None:
    assert (
        translated("你好。再见。", "zh", "en", **{"你好。": "Hello.", "再见。": "Bye."})
        == "Hello. Bye."
    )
    assert (
        translated("Hello. Bye.", "en", "zh", **{"Hello.": "你好。", "Bye.": "再见。"})
        == "你好。再见。"
    )
    assert translated("Ça va. Oui.", "fr", "ko", **{"Ça va.": "네.", "Oui.": "응."}) == "네. 응."


def test_one_translation_for_each_segment() -> None:
    with pytest.raises(ValueError, match="1 translations for 2 segments"):
        parse_text("你好。再见。", "zh", "en").assemble([Said("Hello.")])


def test_another_splitter() -> None:
    document = parse_text("a|b", "en", "zh", split=lambda text: [(0, 1), (2, 3)])
    assert document.assemble([Said("甲"), Said("乙")]) == "甲|乙"


def test_what_was_cut_is_noted() -> None:
    text = (
        "你好。我们走。\n\n一\n二\n"
        + "我们今天去公园玩，" * 20
        + "\n"
        + "word " * 120
        + ". Yes.\nA\tb"
    )
    document = parse_text(text, "zh", "en")
    assert document.notes == (
        "line 5: a sentence of 180 characters is translated in 2 parts",
        "line 6: a sentence of 601 characters is translated in 2 parts",
    )
