"""Other names in the corpora's own sentences: 汤姆去波士顿 teaches 王芳去北京."""

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from .sides import choose, replace_once

LONGEST = 12  # characters of a Chinese name

# A name after these would need the word changed, too.
_BOUND = re.compile(r"(?:\b(?:the|a|an)|-)\s*$", re.IGNORECASE)

# Beside these it is part of a longer word, such as 日本人, or of a longer name.
_CONTINUES = tuple("人语文话族式菜籍裔·")


class Names:
    """Names in Chinese and English, by kind: a person's is replaced by a person's.

    A name may stand in several lists; one list is drawn from as often as another, so a short list
    of well-known names counts as much as a long one.
    """

    def __init__(self, lists: Sequence[Iterable[tuple[str, str, str]]]) -> None:
        """lists: rows of Chinese name, English name, kind."""
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
        return choose(choose([k[kind] for k in self._lists if kind in k], generator), generator)

    def find(self, chinese: str, english: str) -> Iterator[tuple[str, str, str]]:
        """Chinese name, English name and kind of each that stands once in both sentences."""
        start = 0
        while start < len(chinese):
            longest = min(LONGEST, len(chinese) - start)
            for length in range(longest, 1, -1):
                name = chinese[start : start + length]
                if (known := self._english.get(name)) and chinese.count(name) == 1:
                    beside = chinese[max(start - 1, 0) : start] == "·"
                    beside |= chinese.startswith(_CONTINUES, start + length)
                    for form, kind in known:
                        if not beside and _stands_alone(form, english):
                            yield name, form, kind
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
            changed = replace_once(chinese, name, new_name), replace_once(english, form, new_form)
            if changed[0] is not None and changed[1] is not None:
                chinese, english = changed[0], changed[1]
        return chinese, english


def _stands_alone(form: str, english: str) -> bool:
    """Whether the name stands exactly once in the sentence, as words of its own without article."""
    matches = list(re.finditer(rf"(?<![\w-]){re.escape(form)}(?![\w-])", english))
    return (
        len(matches) == 1
        and english.count(form) == 1
        and _BOUND.search(english[: matches[0].start()]) is None
    )
