"""Sentences end where a reader says they do, nothing but spaces is between them, and it is fast."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfm.runtime.documents import split_sentences

CASES = json.loads(Path(__file__).with_name("sentences.json").read_text(encoding="utf-8"))
PIECES = [*"。！？…；.!?\"'”）) \n\t，,:-1A", "a", "我", "Dr. ", "https://a.b/?c. ", "U.S. ", "😀"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:20])
def test_they_are_those_of_a_reader(case: dict) -> None:
    text = case["text"]
    assert [text[begin:end] for begin, end in split_sentences(text)] == case["sentences"]


@settings(max_examples=500)
@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
def test_every_letter_is_in_one_sentence_and_none_is_long(text: str) -> None:
    spans = split_sentences(text)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))
    inside = "".join(text[begin:end] for begin, end in spans)
    # Markers of list items may hold letters: "(a) ".
    assert "".join(filter(str.isalpha, inside)).count("我") == text.count("我")
    assert all(text[begin:end] == text[begin:end].strip() for begin, end in spans)
    assert all("\n" not in text[begin:end] and "\t" not in text[begin:end] for begin, end in spans)


@pytest.mark.parametrize("long", ["我" * 5000, "a" * 5000, "ab " * 5000, "我，" * 5000])
def test_long_sentences_are_cut_and_nothing_is_lost(long: str) -> None:
    spans = split_sentences(long)
    assert len(spans) > 1
    assert max(end - begin for begin, end in spans) <= 480
    assert "".join(long[begin:end] for begin, end in spans).replace(" ", "") == long.replace(
        " ", ""
    )


@pytest.mark.parametrize("part", ["a!a.", 'a."', "www.a.b ", "。", '"', "- ", "A. ", "你好，"])
def test_hostile_text_takes_time_in_proportion(part: str) -> None:
    # With quadratic work this would take hours.
    split_sentences(part * 100_000)
