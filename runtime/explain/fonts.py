"""Fonts of this system that have the characters of a picture."""

import contextlib
import logging
from collections.abc import Iterable, Iterator

from matplotlib.font_manager import findSystemFonts, fontManager
from matplotlib.ft2font import FT2Font

logger = logging.getLogger(__name__)

_FIRST = "DejaVu Sans"  # comes with matplotlib
# Asked before all others, because they look well beside it.
_PREFERRED = ("Noto Sans CJK", "Noto Sans", "PingFang", "Microsoft YaHei", "WenQuanYi")
# Fonts of images, which matplotlib cannot draw, and those that draw boxes for all characters.
_USELESS = ("Color Emoji", "ColorEmoji", "Last Resort", "LastResort")
_MISSING = "□"


class Fonts:
    """The fonts that a picture needs.

    Attributes:
        families: their names, the first one for all that it has
    """

    def __init__(self, texts: Iterable[str]) -> None:
        """Choose fonts for the characters of the texts; those that no font has are logged."""
        wanted = {character for text in texts for character in text if character.isprintable()}
        missing = {ord(character) for character in wanted}
        self.families: list[str] = []
        for family, file in _candidates():
            if not missing and self.families:
                break
            found = missing & _characters(file)
            if found or not self.families:
                self.families.append(family)
                missing -= found
        self._missing = missing
        if missing:
            logger.warning(
                "no font of this system has %s: the picture shows %s there; install one, such as"
                " Noto Sans CJK, or write .html",
                " ".join(map(chr, sorted(missing)[:20])),
                _MISSING,
            )

    def drawable(self, text: str) -> str:
        """The text without characters that cannot be drawn."""
        return "".join(
            _MISSING
            if ord(character) in self._missing or not character.isprintable()
            else character
            for character in text
        )


def _candidates() -> Iterator[tuple[str, str]]:
    """Name and file of each font, the best first, and last those that were installed after
    matplotlib made its list."""
    yield from _listed()
    known = {font.fname for font in fontManager.ttflist}
    for file in sorted(findSystemFonts()):
        if file not in known and not any(useless in file for useless in _USELESS):
            with contextlib.suppress(OSError, RuntimeError):  # it cannot be read
                fontManager.addfont(file)
                yield fontManager.ttflist[-1].name, file


def _listed() -> list[tuple[str, str]]:
    """Those that matplotlib knows."""

    def order(entry: tuple[str, str]) -> tuple[int, str]:
        name, _ = entry
        if name == _FIRST:
            return -1, name
        ranks = [rank for rank, start in enumerate(_PREFERRED) if name.startswith(start)]
        return min(ranks, default=len(_PREFERRED)), name

    fonts: dict[str, str] = {}
    for font in fontManager.ttflist:
        useless = any(useless in font.name for useless in _USELESS)
        if not useless and font.style == "normal" and font.weight in (400, "normal"):
            fonts.setdefault(font.name, font.fname)
    return sorted(fonts.items(), key=order)


def _characters(file: str) -> set[int]:
    """What a font can draw; nothing if it cannot be read."""
    try:
        return set(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):
        return set()
