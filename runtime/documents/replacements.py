"""A text with parts of it exchanged."""

from bisect import bisect_left


class Replacements:
    """Parts of a text and what takes their place; parts do not overlap."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._begins: list[int] = []
        self._parts: list[tuple[int, str]] = []

    def add(self, begin: int, end: int, replacement: str) -> None:
        """Put a text in the place of [begin, end), which comes after all parts before."""
        self._begins.append(begin)
        self._parts.append((end, replacement))

    def emit(self, begin: int, end: int) -> str:
        """The part [begin, end) of the text with its replacements."""
        pieces: list[str] = []
        for number in range(bisect_left(self._begins, begin), len(self._begins)):
            first = self._begins[number]
            if first >= end:
                break
            last, replacement = self._parts[number]
            pieces += [self._text[begin:first], replacement]
            begin = last
        return "".join([*pieces, self._text[begin:end]])
