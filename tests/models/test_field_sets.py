"""The files of tests/models are whole, and their checks tell right from wrong."""

import re
import unicodedata
from collections import Counter
from itertools import permutations

import pytest
from helpers.field_sets import (
    FOLDER,
    PHRASES_OF_CI,
    FieldRow,
    NameRow,
    PhraseRow,
    count_item,
    plain,
    read_copies,
    read_names,
    read_phrases,
)
from helpers.paths import ROOT

NAMES, COPIES, PHRASES = read_names(), read_copies(), read_phrases()
ROWS: list[FieldRow] = [*NAMES, *COPIES, *PHRASES]
LANGUAGES = ("zh", "en")
VARIANTS = [
    line.split("\t") for line in (FOLDER / "phrase_variants.tsv").read_text("utf-8").splitlines()
]


def test_the_files_have_their_rows() -> None:
    assert (len(NAMES), len(COPIES), len(PHRASES)) == (500, 500, 100)
    assert Counter(row.kind for row in NAMES) == {
        "china": 110,
        "city": 110,
        "country": 90,
        "nature": 40,
        "chinese_person": 70,
        "foreign_person": 60,
        "organisation": 20,
    }
    categories = Counter(row.category for row in COPIES)
    assert len(categories) == 15
    assert set(categories.values()) == {33, 34}


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_sentence_is_there_twice(language: str) -> None:
    counts = Counter(row.sentence(language) for row in ROWS)
    assert [sentence for sentence, count in counts.items() if count > 1] == []


def test_no_name_is_there_twice() -> None:
    assert len({row.chinese_forms[0] for row in NAMES}) == 500
    assert len({row.english_forms[0] for row in NAMES}) == 500


def test_the_names_are_in_many_different_sentences() -> None:
    chinese = {re.sub(row.chinese_forms[0], "", row.chinese) for row in NAMES}
    english = {row.english.replace(row.english_forms[0], "") for row in NAMES}
    assert min(len(chinese), len(english)) >= 480


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_reference_is_right(language: str) -> None:
    assert [row for row in ROWS if not row.is_right(row.sentence(language), language)] == []


def test_the_sentence_of_a_name_is_wrong_without_it() -> None:
    for row in NAMES:
        chinese = re.sub("|".join(row.chinese_forms), "它", row.chinese)
        assert not row.is_right(chinese, "zh"), chinese
        english = row.english
        for form in sorted(row.english_forms, key=len, reverse=True):
            english = english.replace(form, "it")
        assert not row.is_right(english, "en"), english


def test_copying_keeps_every_item() -> None:
    """What comes out as it went in has all items once."""
    wrong = [
        row.items
        for row in COPIES
        for source, target in permutations(LANGUAGES)
        if not row.is_right(row.sentence(source), target)
    ]
    assert wrong == []


def test_an_item_that_is_there_twice_or_changed_is_wrong() -> None:
    for row in COPIES:
        twice = f"{row.english} {row.items[0]}"
        assert row.is_whole(twice)
        assert not row.is_right(twice, "en")
        changed = row.english.replace(row.items[0], "?")
        assert not row.is_whole(changed)
        assert not row.is_right(changed, "en")


@pytest.mark.parametrize(
    ("item", "text", "count"),
    [
        ("G102", "G1020 and G102.", 1),
        ("$75", "It is $75.50.", 0),
        ("120", "Call 120.", 1),
        ("120", "1.120 or 120,5", 0),
        ("3.5 kg", "13.5 kg", 0),
        ("3.5 kg", "重3.5 kg的米", 1),
        ("-v", "run -version", 0),
        ("%s", "%s%s", 2),
        ("{name}", "{Name}", 0),
        ("iOS", "iOS和ios", 1),
        ("❤️", "I ❤️ you", 1),
    ],
)
def test_items_are_whole_words_and_numbers(item: str, text: str, count: int) -> None:
    assert count_item(item, text) == count


@pytest.mark.parametrize(
    ("text", "language", "right"),
    [
        ("He is from Xi'an.", "en", True),
        ("He is from Xi’an.", "en", True),
        ("He is from Sao Paulo.", "en", True),
        ("He is from Xianyang.", "en", False),
        ("He is from AnXi'an.", "en", False),
        ("He is from xi'an.", "en", False),
        ("他是西安人。", "zh", True),
        ("他是王莉娟。", "zh", True),
        ("他是安西人。", "zh", False),
    ],
)
def test_a_name_counts_in_each_of_its_forms(text: str, language: str, right: bool) -> None:
    row = NameRow("", "", ("西安", "王[丽莉]娟"), ("Xi'an", "São Paulo"), "city")
    assert row.is_right(text, language) == right


def test_punctuation_and_case_make_no_difference_to_phrases() -> None:
    assert plain("It’s 8:30, isn't it?!", "en") == "It's 8:30 isn't it"
    assert plain("现在 8:30 ，对吗？", "zh") == "现在8:30对吗"
    row = PhraseRow("你好。", "Hello.", "hello|hi", "[你您]好")
    assert row.is_right("HELLO!", "en")
    assert not row.is_right("Hello, hello.", "en")


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_phrase_passes_for_another(language: str) -> None:
    passes = [
        (row.chinese, other.chinese)
        for row, other in permutations(PHRASES, 2)
        if row.is_right(other.sentence(language), language)
    ]
    assert passes == ([("没关系。", "别担心。")] if language == "en" else [])


def test_nothing_is_no_phrase() -> None:
    for row in PHRASES:
        for language in LANGUAGES:
            assert not row.is_right("", language), row
            assert not row.is_right("。", language), row


def test_other_right_wordings_pass_and_usual_mistakes_do_not() -> None:
    by_chinese = {row.chinese: row for row in PHRASES}
    unlike = [
        (chinese, verdict, text)
        for chinese, verdict, language, text in VARIANTS
        if by_chinese[chinese].is_right(text, language) != (verdict == "right")
    ]
    assert unlike == []


def test_the_phrases_of_ci_have_both_right_and_wrong_variants() -> None:
    known = {(chinese, verdict, language) for chinese, verdict, language, _ in VARIANTS}
    for row in PHRASES[:PHRASES_OF_CI]:
        for language in LANGUAGES:
            for verdict in ("right", "wrong"):
                assert (row.chinese, verdict, language) in known


@pytest.mark.parametrize("name", ["phrasebook.tsv", "sentences.tsv"])
def test_what_was_written_for_training_has_none_of_these_sentences(name: str) -> None:
    """But for the first phrases, which a bundled model must get right however it learns them."""

    def plain_text(text: str) -> str:
        return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", text)).lower()

    held_out = {
        plain_text(text)
        for row in (*NAMES, *COPIES, *PHRASES[PHRASES_OF_CI:])
        for text in (row.chinese, row.english)
    }
    lines = (ROOT / "trainer" / "recipes" / "zh-en" / name).read_text("utf-8").splitlines()
    assert len(lines) > 3000
    for line in lines:
        chinese, english, _ = line.split("\t")
        assert not {plain_text(chinese), plain_text(english)} & held_out, line
