"""The sentences of tests/models, Chinese and English, and whether a translation of one is right.

tests/models/README.md describes the files.
"""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from helpers.paths import ROOT

FOLDER = ROOT / "tests" / "models"
ITEM_SEPARATOR = " ¦ "
PHRASES_OF_CI = 20  # the first ones

_QUOTES = str.maketrans("‘’“”", "''\"\"")
_DIGIT_FOLLOWS = r"(?![.,:]?\d)"
_DIGIT_COMES_BEFORE = r"(?<!\d)(?<!\d[.,:])"


@dataclass(frozen=True, slots=True)
class FieldRow:
    """A sentence in both languages, each the right translation of the other."""

    chinese: str
    english: str

    def sentence(self, language: str) -> str:
        """The sentence in "zh" or "en"."""
        return {"zh": self.chinese, "en": self.english}[language]


@dataclass(frozen=True, slots=True)
class NameRow(FieldRow):
    """A sentence with one name.

    Attributes:
        chinese_forms: regular expressions, as several characters can write one pinyin
        english_forms: spellings
    """

    chinese_forms: tuple[str, ...]
    english_forms: tuple[str, ...]
    kind: str

    def is_right(self, translation: str, language: str) -> bool:
        """Whether a translation into `language` has the name in one of its forms.

        English forms are whole words in their case; accents and the kind of apostrophe do not
        count.
        """
        if language == "zh":
            return any(re.search(form, translation) for form in self.chinese_forms)
        words = _without_accents(translation)
        return any(
            re.search(rf"(?<!\w){re.escape(_without_accents(form))}(?!\w)", words)
            for form in self.english_forms
        )


@dataclass(frozen=True, slots=True)
class CopyRow(FieldRow):
    """A sentence with items that a translation keeps, letter by letter."""

    items: tuple[str, ...]
    category: str

    def counts(self, translation: str) -> list[int]:
        """How many times each item is in a translation."""
        return [count_item(item, translation) for item in self.items]

    def is_whole(self, translation: str) -> bool:
        return all(self.counts(translation))

    def is_right(self, translation: str, language: str) -> bool:
        """Whether each item is in a translation exactly once; the language makes no difference."""
        return all(count == 1 for count in self.counts(translation))


@dataclass(frozen=True, slots=True)
class PhraseRow(FieldRow):
    """An everyday phrase.

    Attributes:
        english_pattern: matches the whole of a right translation, as `plain` writes it
        chinese_pattern: likewise
    """

    english_pattern: str
    chinese_pattern: str

    def is_right(self, translation: str, language: str) -> bool:
        """Whether a translation into `language` says the same, in whatever right words."""
        pattern = self.chinese_pattern if language == "zh" else self.english_pattern
        return re.fullmatch(pattern, plain(translation, language), re.IGNORECASE) is not None


def read_names(path: Path = FOLDER / "names.tsv") -> list[NameRow]:
    return [
        NameRow(chinese, english, tuple(forms.split("|")), tuple(spellings.split("|")), kind)
        for chinese, english, forms, spellings, kind in _rows(path)
    ]


def read_copies(path: Path = FOLDER / "copies.tsv") -> list[CopyRow]:
    return [
        CopyRow(chinese, english, tuple(items.split(ITEM_SEPARATOR)), category)
        for chinese, english, items, category in _rows(path)
    ]


def read_phrases(path: Path = FOLDER / "phrases.tsv") -> list[PhraseRow]:
    return [PhraseRow(*cells) for cells in _rows(path)]


def count_item(item: str, text: str) -> int:
    """How many times an item stands in a text, not as a part of a longer word or number."""
    pattern = re.escape(item)
    if re.match(r"\w", item, re.ASCII):
        pattern = r"(?<![A-Za-z0-9_])" + pattern
    if re.search(r"\w$", item, re.ASCII):
        pattern += "(?![A-Za-z0-9_])"
    if item[0].isdecimal():
        pattern = _DIGIT_COMES_BEFORE + pattern
    if item[-1].isdecimal():
        pattern += _DIGIT_FOLLOWS
    return len(re.findall(pattern, text))


def plain(text: str, language: str) -> str:
    """A text without what makes no difference: punctuation, other than within numbers and words,
    and spaces, in Chinese all of them."""
    text = text.translate(_QUOTES)
    if language == "zh":
        text = re.sub(r"\s+", "", text)
    text = re.sub(r"(?<!\d)[.,:]|[.,:](?!\d)|[\"!?;…~。，！？；：、（）“”]", " ", text)
    return re.sub(r"\s+", "" if language == "zh" else " ", text).strip()


def _without_accents(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text.translate(_QUOTES))
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def _rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text("utf-8").splitlines()]
