"""Other names in the corpora's own sentences: 汤姆去波士顿 teaches 王芳去北京."""

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from .chinese_persons import random_person
from .sides import choose, replace_once

LONGEST = 12  # characters of a Chinese name
PERSON = "person"

# A name after these would need the word changed, too.
_BOUND = re.compile(r"(?:\b(?:the|a|an)|-)\s*$", re.IGNORECASE)

# Beside these it is part of a longer word, such as 日本人, or of a longer name.
_CONTINUES = tuple("人语文话族式菜籍裔·")


class Names:
    """Names in Chinese and English, by kind: a person's is replaced by a person's.

    A name may stand in several lists; one list is drawn from as often as another, so a short list
    of well-known names counts as much as a long one.
    """

    def __init__(
        self, lists: Sequence[Iterable[tuple[str, str, str]]], made_up_persons: float = 0.0
    ) -> None:
        """Names of lists.

        Args:
            lists: rows of Chinese name, English name, kind
            made_up_persons: how many of the drawn persons, 0 to 1, have a Chinese name at random
        """
        self._made_up = made_up_persons
        self._english: dict[str, list[tuple[str, str]]] = {}  # English name, kind
        self._lists: list[dict[str, list[tuple[str, str]]]] = []
        for rows in lists:
            kinds: dict[str, list[tuple[str, str]]] = {}
            for chinese, english, kind in rows:
                if 2 <= len(chinese) <= LONGEST:
                    self._english.setdefault(chinese, []).append((english, kind))
                    kinds.setdefault(kind, []).append((chinese, english))
            self._lists.append(kinds)

    def draw(self, kind: str, generator: np.random.Generator) -> tuple[str, str]:
        """A name of that kind in Chinese and English."""
        if kind == PERSON and self._made_up and generator.random() < self._made_up:
            return random_person(generator)
        return choose(choose([k[kind] for k in self._lists if kind in k], generator), generator)

    def find(self, chinese: str, english: str) -> Iterator[tuple[str, str, str]]:
        """Chinese name, English name and kind of each that stands once in both sentences; the
        English one as it stands there, because a sentence may begin with its article."""
        start = 0
        while start < len(chinese):
            longest = min(LONGEST, len(chinese) - start)
            for length in range(longest, 1, -1):
                name = chinese[start : start + length]
                if (known := self._english.get(name)) and chinese.count(name) == 1:
                    beside = chinese[max(start - 1, 0) : start] == "·"
                    beside |= chinese.startswith(_CONTINUES, start + length)
                    for form, kind in known:
                        stands = None if beside else _standing_alone(form, english)
                        if stands is not None:
                            yield name, stands, kind
                            break
                    start += length - 1
                    break
            start += 1


class NameSubstitution:
    """Replaces a name in both sentences by another of its kind."""

    def __init__(self, names: Names) -> None:
        """Any name of `names` may be found and may be put in."""
        self.names = names

    def __call__(
        self, chinese: str, english: str, generator: np.random.Generator, *, from_english: bool
    ) -> tuple[str, str] | None:
        """None if no name is in both sentences."""
        found = list(self.names.find(chinese, english))
        if not found:
            return None
        for name, form, kind in found:
            new_name, new_form = self.names.draw(kind, generator)
            if form.startswith("The ") and new_form.startswith("the "):
                new_form = f"T{new_form[1:]}"
            changed = replace_once(chinese, name, new_name), replace_once(english, form, new_form)
            if changed[0] is not None and changed[1] is not None:
                chinese, english = changed[0], changed[1]
        return chinese, english


def _standing_alone(form: str, english: str) -> str | None:
    """The name as it stands in the sentence, exactly once, as words of its own without another
    article; None if it does not."""
    written = re.escape(form)
    if form.startswith("the "):
        written = f"[Tt]{written[1:]}"
    matches = list(re.finditer(rf"(?<![\w-]){written}(?![\w-])", english))
    if len(matches) != 1 or _BOUND.search(english[: matches[0].start()]) is not None:
        return None
    found = matches[0][0]
    return found if english.count(found) == 1 else None
