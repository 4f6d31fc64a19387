"""What SentencePiece does to a source's characters before it cuts them into pieces."""

import sys
import unicodedata
from pathlib import Path

import sentencepiece

from tfm.trainer.errors import TrainError

NFKC = "nmt_nfkc"  # full-width letters and digits become plain ones
_OTHER_VARIANTS = {"妳": "你"}  # that OpenCC keeps
_HALF_WIDTH_KANA, _VOICE_MARKS = range(0xFF66, 0xFF9E), "ﾞﾟ"
_WITHOUT_TEXT = ("Cn", "Co", "Cs")  # unassigned, private, surrogates


def write_folding_rules(path: Path) -> None:
    """Write SentencePiece rules that are NMT NFKC, and then make traditional Chinese characters
    simplified ones, one by one as OpenCC has them. The vocabulary carries them, so that whoever
    reads text with it needs no OpenCC.

    Raises:
        TrainError: opencc is not installed
    """
    try:
        import opencc
    except ModuleNotFoundError as error:
        raise TrainError(
            "vocabulary.fold_traditional needs OpenCC: pip install 'tfm[train]'"
        ) from error
    simplified = opencc.OpenCC("t2s").convert
    normalizer = sentencepiece.SentencePieceNormalizer(
        rule_name=NFKC, add_dummy_prefix=False, escape_whitespaces=False
    )
    rules = {chr(code) + mark: "" for code in _HALF_WIDTH_KANA for mark in _VOICE_MARKS}
    rules = {text: unicodedata.normalize("NFKC", text) for text in rules}
    for character in map(chr, range(1, sys.maxunicode + 1)):
        if unicodedata.category(character) in _WITHOUT_TEXT:
            continue
        for text in {character, unicodedata.normalize("NFD", character)}:
            rules[text] = "".join(map(simplified, _normalized(normalizer, character)))
    rules |= _OTHER_VARIANTS
    lines = [
        f"{_hexadecimal(text)}\t{_hexadecimal(result)}\n"
        for text, result in rules.items()
        if text != result
    ]
    path.write_text("".join(lines), "ascii")


def _normalized(normalizer: sentencepiece.SentencePieceNormalizer, character: str) -> str:
    """A character by NMT NFKC, spaces kept: alone, SentencePiece would drop them."""
    result = normalizer.normalize(f"中{character}中")
    return str(result)[1:-1]


def _hexadecimal(text: str) -> str:
    return " ".join(f"{ord(character):X}" for character in text)
