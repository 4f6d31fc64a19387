"""Terminology: how phrases of the source are to be translated."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from .scripts import SPACED_LETTER, is_spaced_letter


@dataclass(frozen=True, slots=True)
class Term:
    """A phrase of the source, and the phrase that its translation must contain."""

    source: str
    target: str


class Terms:
    """A glossary.

    A term is in a sentence where its source phrase stands there letter for letter, not within a
    longer word, and in no longer term.

    Example:
        >>> Terms({"机器学习": "machine learning"}).find("机器学习很有用。")
        [Term(source='机器学习', target='machine learning')]
    """

    def __init__(self, phrases: Mapping[str, str]) -> None:
        """Target phrases by source phrase.

        Raises:
            ValueError: a phrase is empty, or no text, or holds half of a surrogate pair
        """
        self._targets: dict[str, str] = {}
        for source, target in phrases.items():
            for phrase in (source, target):
                if not isinstance(phrase, str) or not phrase.strip():
                    raise ValueError(
                        f"terms has {source!r}: {target!r}: both sides must be text that is not"
                        " empty"
                    )
                try:
                    phrase.encode("utf-8")
                except UnicodeEncodeError:
                    raise ValueError(
                        f"terms has {source!r}: {target!r}: {phrase!r} is not UTF-8"
                    ) from None
            self._targets[source.strip()] = " ".join(target.split())

    def __len__(self) -> int:
        """How many terms there are."""
        return len(self._targets)

    @property
    def digest(self) -> str:
        """What tells it from another glossary."""
        content = "\n".join(f"{source}\t{target}" for source, target in self._targets.items())
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    @classmethod
    def of_lines(cls, lines: Iterable[str], name: str) -> "Terms":
        """Read source<TAB>target lines; empty ones and those that begin with # are left out.

        Args:
            name: of the file, for errors

        Raises:
            ValueError: a line has no tab, or a side of it is empty
        """
        phrases = {}
        for number, line in enumerate(lines, start=1):
            text = line.rstrip("\r\n")
            if not text.strip() or text.startswith("#"):
                continue
            source, tab, target = text.partition("\t")
            target = target.partition("\t")[0]
            if not tab or not source.strip() or not target.strip():
                raise ValueError(
                    f"{name}, line {number}: {text[:40]!r} is no term: source<TAB>target is"
                    " expected"
                )
            phrases[source] = target
        return cls(phrases)

    def find(self, sentence: str) -> list[Term]:
        """The terms in a sentence, each once, in its order."""
        if not self._targets:
            return []
        found = dict.fromkeys(match[0] for match in self._pattern.finditer(sentence))
        return [Term(source, self._targets[source]) for source in found]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest_first = sorted(self._targets, key=len, reverse=True)
        return re.compile("|".join(_as_words(phrase) for phrase in longest_first))


def contains_phrase(text: str, phrase: str) -> bool:
    """Whether a phrase stands in a text letter for letter, not within a longer word."""
    return re.search(_as_words(phrase), text) is not None


def places_of_phrase(text: str, phrase: str) -> list[tuple[int, int]]:
    """Where it stands so: characters from and to."""
    return [match.span() for match in re.finditer(_as_words(phrase), text)]


def _as_words(phrase: str) -> str:
    """The pattern of a phrase that no letter of a script with spaces goes on with."""
    before = f"(?<!{SPACED_LETTER})" if is_spaced_letter(phrase[0]) else ""
    after = f"(?!{SPACED_LETTER})" if is_spaced_letter(phrase[-1]) else ""
    return f"{before}{re.escape(phrase)}{after}"
