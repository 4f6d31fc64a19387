"""What SentencePiece does to a source's characters before it cuts them into pieces."""

import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import sentencepiece

from tfm.trainer.errors import TrainError

NFKC = "nmt_nfkc"  # SentencePiece's own rules for machine translation
_OTHER_VARIANTS = {"妳": "你"}  # that OpenCC keeps
_HALF_WIDTH_KANA, _VOICE_MARKS = range(0xFF66, 0xFF9E), "ﾞﾟ"
_WITHOUT_TEXT = ("Cn", "Co", "Cs")  # unassigned, private, surrogates
_SPACES_AND_CONTROLS = ("Zs", "Cc")


def write_rules(path: Path, *, only_width: bool, fold_traditional: bool) -> None:
    """Write rules for SentencePiece, which the vocabulary carries: who reads text with it needs
    nothing else.

    Args:
        only_width: full-width letters, digits and marks become plain ones, half-width kana full
            ones, and other spaces the usual one; nothing else is changed, so that it can be
            copied (NMT NFKC makes °C of ℃, and 2 of ²)
        fold_traditional: traditional Chinese characters become simplified ones, one by one as
            OpenCC has them

    Raises:
        TrainError: OpenCC is needed and not installed
    """
    simplified = _simplifier() if fold_traditional else str
    normalizer = sentencepiece.SentencePieceNormalizer(
        rule_name=NFKC, add_dummy_prefix=False, escape_whitespaces=False
    )
    voiced = [chr(code) + mark for code in _HALF_WIDTH_KANA for mark in _VOICE_MARKS]
    rules = {text: unicodedata.normalize("NFKC", text) for text in voiced}
    for character in map(chr, range(1, sys.maxunicode + 1)):
        if unicodedata.category(character) in _WITHOUT_TEXT:
            continue
        stays = only_width and not _is_of_other_width(character)
        normal = character if stays else _normalized(normalizer, character)
        for text in {character, unicodedata.normalize("NFD", character)}:
            rules[text] = "".join(map(simplified, normal))
    if fold_traditional:
        rules |= _OTHER_VARIANTS
    lines = [
        f"{_hexadecimal(text)}\t{_hexadecimal(result)}\n"
        for text, result in rules.items()
        if text != result
    ]
    path.write_text("".join(lines), "ascii")


def _simplifier() -> Callable[[str], str]:
    try:
        import opencc
    except ModuleNotFoundError as error:
        raise TrainError(
            "vocabulary.fold_traditional needs OpenCC: pip install 'tfm[train]'"
        ) from error
    simplify: Callable[[str], str] = opencc.OpenCC("t2s").convert
    return simplify


def _is_of_other_width(character: str) -> bool:
    return (
        unicodedata.east_asian_width(character) in ("F", "H")
        or unicodedata.category(character) in _SPACES_AND_CONTROLS
    )


def _normalized(normalizer: sentencepiece.SentencePieceNormalizer, character: str) -> str:
    """A character by NMT NFKC, spaces kept: alone, SentencePiece would drop them."""
    result = normalizer.normalize(f"中{character}中")
    return str(result)[1:-1]


def _hexadecimal(text: str) -> str:
    return " ".join(f"{ord(character):X}" for character in text)
