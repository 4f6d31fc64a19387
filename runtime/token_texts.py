"""What target tokens say, and which of them would complete a text.

Texts are UTF-8, so that a character of several byte tokens is found as well. A text begins as if
after a space, which is how SentencePiece marks words, and several spaces count as one.
"""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SPACES = re.compile(rb" +")
_MOST_REMEMBERED = 1000  # texts


class Completions(NamedTuple):
    """The tokens that complete a text: those that hold it whole, and by what was said just before
    them those that begin with the rest of it."""

    whole: NDArray[np.int64]
    after: dict[bytes, NDArray[np.int64]]


class TokenTexts:
    """The texts of a vocabulary's tokens."""

    def __init__(self, texts: Sequence[bytes], silent: Collection[int] = ()) -> None:
        """Take the text of each token by its id, with its spaces.

        Args:
            silent: tokens of languages, which come before the text and are not in it
        """
        self._texts = [
            b"" if token_id in silent else _SPACES.sub(b" ", text)
            for token_id, text in enumerate(texts)
        ]
        self._remembered: dict[str, Completions] = {}

    def completions(self, text: str) -> Completions:
        """Which tokens complete a text."""
        if text not in self._remembered:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[text] = self._find(normalized(text))
        return self._remembered[text]

    def ending(self, ids: Sequence[int], length: int) -> bytes:
        """The last bytes, up to `length`, of what these tokens say together."""
        said = b""
        for token_id in reversed(ids):
            said = _SPACES.sub(b" ", self._texts[token_id] + said)
            if len(said) >= length:
                break
        else:
            said = _SPACES.sub(b" ", b" " + said)
        return said[max(0, len(said) - length) :]

    def _find(self, text: bytes) -> Completions:
        whole = [i for i, token in enumerate(self._texts) if text in token]
        after = {}
        for size in range(1, len(text)):
            start, rest = text[:size], text[size:]
            # A second space would count for nothing.
            begins = (rest, b" " + rest) if start.endswith(b" ") else (rest,)
            ids = [i for i, token in enumerate(self._texts) if token.startswith(begins)]
            if ids:
                after[start] = np.array(ids, np.int64)
        return Completions(np.array(whole, np.int64), after)


def normalized(text: str) -> bytes:
    """A text as it is looked for."""
    return _SPACES.sub(b" ", text.encode())
