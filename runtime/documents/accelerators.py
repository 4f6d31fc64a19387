"""Accelerators: the mark before the letter of a menu's item that a key chooses:
_File, &File.

The mark is taken out for the translator and put back: before the letter, at the beginning of a word
or anywhere; where the letter is not, or in scripts without spaces, behind the text in brackets, as
is usual there: 文件(_F)... .
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from tfm.runtime.scripts import is_unspaced_letter

MARKS = "_&~"
_AT_WORD = re.compile(rf"(?:^|(?<=[\s(]))([{MARKS}])(?=[A-Za-z0-9])(?!\w*;)")
_IN_WORD = re.compile(rf"(?<!\w)[A-Z][A-Za-z]*+([{MARKS}])(?=[a-z])(?!\w*;)")
_BEHIND = re.compile(rf"[ ]?[(（]([{MARKS}])([A-Za-z0-9])[)）]")
_MOST_TRIED = 4  # places of a letter
_ENDING = re.compile(r"(?:(?<![\s.…:：])[\s.…:：]+)?+\Z")


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A mark and the letter that it stands before."""

    mark: str
    letter: str

    def put_into(self, text: str, is_allowed: Callable[[str], bool]) -> str:
        """The text with the mark.

        Args:
            is_allowed: whether a text with the mark can be; it may not stand in a placeholder
        """
        if not any(map(is_unspaced_letter, text)):
            letter = re.escape(self.letter)
            for pattern in (rf"\b{letter}", rf"(?i:\b{letter})", rf"(?i:{letter})"):
                for found in islice(re.finditer(pattern, text), _MOST_TRIED):
                    marked = f"{text[: found.start()]}{self.mark}{text[found.start() :]}"
                    if is_allowed(marked):
                        return marked
        ending = _ENDING.search(text)
        at = ending.start() if ending else len(text)
        return f"{text[:at]}({self.mark}{self.letter.upper()}){text[at:]}"


def marks_of(texts: Iterable[str]) -> str:
    """The marks that some texts have before words or in brackets; others are letters there, as in
    file_name."""
    found: set[str] = set()
    for text in texts:
        found |= {match.group(1) for match in _AT_WORD.finditer(text)}
        found |= {match.group(1) for match in _BEHIND.finditer(text)}
    return "".join(sorted(found))


def take_accelerator(text: str, marks: str) -> tuple[str, Accelerator | None]:
    """The text without its mark, and what it was; of texts with several marks, or with a mark of
    another use as well, nothing is taken."""
    behind = _BEHIND.search(text)
    if behind is not None and behind.group(1) in marks and text.count(behind.group(1)) == 1:
        rest = text[: behind.start()] + text[behind.end() :]
        return rest, Accelerator(*behind.groups())
    for pattern in (_AT_WORD, _IN_WORD):
        for found in pattern.finditer(text):
            mark = found.group(1)
            if mark in marks and text.count(mark) == 1:
                at = found.end()
                return text[: found.start(1)] + text[at:], Accelerator(mark, text[at])
    return text, None
