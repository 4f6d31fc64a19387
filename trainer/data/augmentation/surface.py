"""The same words with other punctuation, widths and capitals."""

import numpy as np

from .sides import choose

_NARROW = str.maketrans({"，": ",", "。": ".", "？": "?", "！": "!", "：": ":", "；": ";"})
_WIDE = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)})
_ENDS = {"。": ".", "！": "!", "？": "?"}


class Punctuation:
    """Drops the last punctuation mark, repeats it, or writes the source's in the other width."""

    def __call__(
        self, chinese: str, english: str, generator: np.random.Generator, *, from_english: bool
    ) -> tuple[str, str] | None:
        """None if the sentences do not end in the same mark."""
        end = _ENDS.get(chinese[-1:])
        if end is None or not english.endswith(end) or english.endswith(".."):
            return None
        way = choose(("without", "without", "repeated", "other width"), generator)
        if way == "without":  # the translation of a question keeps its mark
            keep_chinese, keep_english = (
                end == "?" and side for side in (from_english, not from_english)
            )
            return chinese if keep_chinese else chinese[:-1], english if keep_english else english[
                :-1
            ]
        if way == "repeated" and end != ".":
            count = int(generator.integers(2, 4))
            return chinese[:-1] + chinese[-1] * count, english[:-1] + end * count
        if from_english:  # people type Chinese marks after English words
            return chinese, english[:-1] + chinese[-1]
        if generator.random() < 0.3:
            return chinese.translate(_WIDE), english
        narrow = chinese.translate(_NARROW)
        return (narrow if narrow != chinese else chinese[:-1] + end), english


class Capitals:
    """Writes an English source in capitals, or all small and without the last full stop."""

    def __call__(
        self, chinese: str, english: str, generator: np.random.Generator, *, from_english: bool
    ) -> tuple[str, str] | None:
        """None if the source is not English, or has no small letters."""
        if not from_english or not any(letter.islower() for letter in english):
            return None
        if generator.random() < 0.5:
            return chinese, english.upper()
        lower = english.lower().removesuffix(".")
        return (chinese, lower) if lower != english else None
