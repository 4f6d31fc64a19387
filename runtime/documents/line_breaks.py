"""Breaking a text into lines or parts, at words or between ideographs."""

import re
import unicodedata
from collections.abc import Sequence

from tfm.runtime.scripts import is_unspaced_letter

_PIECE_END = re.compile(r"[，、,;；:：。.!?！？…—][”’」』\"')）]*")


def share_out(text: str, weights: Sequence[float]) -> list[str]:
    """A text in as many parts as there are weights, about as long as they say, cut after commas or
    at spaces; between letters only in scripts without spaces. Joined they are the text, but for
    spaces."""
    parts: list[str] = []
    begin, total = 0, sum(weights)
    for number, weight in enumerate(weights[:-1]):
        wanted = begin + (len(text) - begin) * weight / total if total else begin
        total -= weight
        left = len(weights) - number - 1
        cuts = [at for at in _cuts(text) if begin < at <= len(text) - left]
        # A comma nearby is better than a space at the very place.
        slack = max(3.0, 0.15 * len(text))
        best = min(
            cuts,
            key=lambda at: (
                abs(at - wanted) - (slack if _PIECE_END.fullmatch(_end_of(text, at)) else 0)
            ),
            default=begin,
        )
        parts.append(text[begin:best].strip())
        begin = best
    return [*parts, text[begin:].strip()]


def _end_of(text: str, at: int) -> str:
    return text[:at].rstrip()[-1:]


def _cuts(text: str) -> list[int]:
    """Where a text may be cut: behind spaces, and around letters of scripts without them."""
    return [
        at
        for at in range(1, len(text))
        if (text[at - 1].isspace() and not text[at].isspace())
        or (
            is_unspaced_letter(text[at])
            and unicodedata.category(text[at - 1])[0] != "Z"
            and unicodedata.category(text[at - 1]) not in ("Ps", "Pi")
        )
    ]


def columns(text: str) -> int:
    """How wide a text is: ideographs and other wide characters have two columns."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def break_lines(text: str, limit: int) -> list[str]:
    """A text in lines of about the same length, at most that many columns where its words allow."""
    width = columns(text)
    if width <= limit:
        return [text]
    count = -(-width // limit)
    while True:
        lines = share_out(text, [1.0] * count)
        lines = [line for line in lines if line]
        if len(lines) < count or all(columns(line) <= limit for line in lines):
            return lines
        count += 1
