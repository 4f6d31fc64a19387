"""Which line of a text a place is on."""

import re
from bisect import bisect_right


class LineNumbers:
    """The lines of a text, by their numbers."""

    def __init__(self, text: str, first: int = 1) -> None:
        """
        Args:
            first: the number of the first line
        """
        self._ends = [found.end() for found in re.finditer("\r\n?|\n", text)]
        self._first = first

    def at(self, position: int) -> int:
        """The number of the line that has the character there."""
        return self._first + bisect_right(self._ends, position)
