"""Whether sentences are written in the script of the language that a model reads.

A model that is given text of another script, as in the wrong direction, writes nonsense with a good
score.
"""

import logging
import re
from collections.abc import Sequence
from functools import cached_property, lru_cache

from .bundled import BUNDLED_MODELS

logger = logging.getLogger(__name__)

# Letters of each script, by its ISO 15924 code. Kana stands for both syllabaries of Japanese.
_LETTERS = {
    "Latn": r"A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff\uff21-\uff3a\uff41-\uff5a",
    "Grek": r"\u0370-\u03ff\u1f00-\u1fff",
    "Cyrl": r"\u0400-\u052f",
    "Armn": r"\u0531-\u0587",
    "Hebr": r"\u05d0-\u05f2",
    "Arab": r"\u0620-\u064a\u066e-\u06d3\u06fa-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefc",
    "Deva": r"\u0900-\u0963",
    "Beng": r"\u0980-\u09e3",
    "Guru": r"\u0a01-\u0a5e\u0a70-\u0a75",
    "Gujr": r"\u0a81-\u0ae3",
    "Orya": r"\u0b01-\u0b63",
    "Taml": r"\u0b82-\u0bd7",
    "Telu": r"\u0c00-\u0c63",
    "Knda": r"\u0c80-\u0ce3",
    "Mlym": r"\u0d00-\u0d63",
    "Sinh": r"\u0d81-\u0df3",
    "Thai": r"\u0e01-\u0e3a\u0e40-\u0e4e",
    "Laoo": r"\u0e81-\u0ecd\u0edc-\u0edf",
    "Tibt": r"\u0f40-\u0fbc",
    "Mymr": r"\u1000-\u103f\u1050-\u109f",
    "Geor": r"\u10a0-\u10ff\u1c90-\u1cbf",
    "Ethi": r"\u1200-\u135a",
    "Khmr": r"\u1780-\u17d3",
    "Hang": r"\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3",
    "Kana": r"\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\uff66-\uff9d",
    "Hani": r"\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",
}
# Scripts without spaces: here a character says about as much as a word elsewhere.
_NO_SPACES = {"Thai", "Laoo", "Tibt", "Mymr", "Khmr", "Kana", "Hani"}
# In names of languages such as zho_Hans.
_SUBTAGS = {
    "Hans": ("Hani",),
    "Hant": ("Hani",),
    "Jpan": ("Kana", "Hani"),
    "Hira": ("Kana", "Hani"),
    "Kore": ("Hang", "Hani"),
    "Hang": ("Hang", "Hani"),
}
# Languages that are written in one script, or in any of several. Others are not judged.
_LANGUAGES = {
    ("Latn",): "af ca cs cy da de en eo es et eu fi fo fr ga gl ha hr ht hu id ig is it la lb lt lv"
    " mi mt nb nl nn no pl pt ro sk sl so sq sv sw tl tr vi xh yo zu"
    " afr cat ces cym dan deu ger eng epo spa est eus fin fao fra fre gle glg hau hrv hat hun ind"
    " ibo isl ita lat ltz lit lav mri mlt nob nld dut nno nor pol por ron rum slk slv som sqi swe"
    " swa swh tgl tur vie xho yor zul",
    ("Cyrl",): "ru uk be bg mk rus ukr bel bul mkd",
    ("Grek",): "el ell",
    ("Armn",): "hy hye",
    ("Hebr",): "he iw yi heb yid",
    ("Arab",): "ar fa ur ps ug ara arb fas pes urd pus uig",
    ("Deva",): "hi mr ne sa hin mar nep npi san",
    ("Beng",): "bn as ben asm",
    ("Gujr",): "gu guj",
    ("Orya",): "or ori ory",
    ("Taml",): "ta tam",
    ("Telu",): "te tel",
    ("Knda",): "kn kan",
    ("Mlym",): "ml mal",
    ("Sinh",): "si sin",
    ("Thai",): "th tha",
    ("Laoo",): "lo lao",
    ("Tibt",): "bo dz bod dzo",
    ("Mymr",): "my mya",
    ("Geor",): "ka kat",
    ("Ethi",): "am ti amh tir",
    ("Khmr",): "km khm",
    ("Hang", "Hani"): "ko kor",
    ("Kana", "Hani"): "ja jpn",
    ("Hani",): "zh zho chi cmn yue wuu nan lzh",
}
_SCRIPTS = {code: scripts for scripts, codes in _LANGUAGES.items() for code in codes.split()}

_ADDRESS = re.compile(r"\S*(?:://|@|www\.)\S*")
_LOWER = r"a-z\u00df-\u00f6\u00f8-\u024f\u1e00-\u1eff"
# Names stay as they are in every language: only words that are written in small letters count,
# and then those that begin with a capital too.
_IN_WORD = f"[{_LETTERS['Latn']}]"
_LATIN_WORD = re.compile(rf"(?<!{_IN_WORD})[A-Z]?[{_LOWER}]{{2,}}(?!{_IN_WORD})")
_LEAST_UNITS = 2  # words, or characters of a script without spaces
_OUTWEIGHS = 4  # so many times the units of the right script


def scripts_of(language: str) -> tuple[str, ...]:
    """The scripts that a language is written in; () if that is not known, or not only one.

    Args:
        language: such as zh, cmn, zh-CN or zho_Hans
    """
    code, *subtags = re.split(r"[-_]", language)
    for tag in subtags:
        scripts = _SUBTAGS.get(tag, (tag,))
        if set(scripts) <= _LETTERS.keys():
            return scripts
        if len(tag) == 4 and tag.isalpha():
            return ()  # a script that is not known here
    return _SCRIPTS.get(code.lower(), ())


def is_in_other_script(sentence: str, language: str) -> bool:
    """Whether a sentence is clearly not written as the language is.

    Numbers, addresses, emoji, and names within the right script are no sign of that.
    """
    scripts = scripts_of(language)
    if not scripts or ("Latn" in scripts and sentence.isascii()):
        return False
    patterns = _patterns(scripts)
    if not any(map(str.isalpha, patterns.own.sub("", sentence))):
        return False  # the usual case, without the large patterns, which take long to compile
    if patterns.any_foreign.search(sentence) is None:
        return False
    sentence = _ADDRESS.sub(" ", sentence)
    foreign = len(patterns.foreign.findall(sentence))
    if "Latn" not in scripts:
        words = _LATIN_WORD.findall(sentence)
        foreign += len(words) if any(word[0].islower() for word in words) else 0
    right = len(patterns.right.findall(sentence))
    return foreign >= _LEAST_UNITS and foreign > _OUTWEIGHS * right


# A pattern: one letter or digit of a script that has spaces between words.
SPACED_LETTER = f"(?:(?![_{''.join(_LETTERS[script] for script in sorted(_NO_SPACES))}])\\w)"
_SPACED_LETTER = re.compile(SPACED_LETTER)


@lru_cache(maxsize=4096)
def is_spaced_letter(char: str) -> bool:
    """Whether a character is a letter or digit of a script that has spaces between words."""
    return _SPACED_LETTER.match(char) is not None


_UNSPACED_LETTER = re.compile(f"[{''.join(_LETTERS[script] for script in sorted(_NO_SPACES))}]")


@lru_cache(maxsize=4096)
def is_unspaced_letter(char: str) -> bool:
    """Whether a character is a letter of a script without spaces between words."""
    return _UNSPACED_LETTER.match(char) is not None


def is_spaced(language: str) -> bool:
    """Whether a language has spaces between words and sentences, as far as is known.

    Args:
        language: such as zh, cmn, zh-CN or zho_Hans
    """
    scripts = scripts_of(language)
    return not scripts or not _NO_SPACES.issuperset(scripts)


def count_units(text: str, language: str | None = None) -> int:
    """Words, or characters of scripts without spaces, in the scripts of a language; addresses do
    not count.

    Args:
        language: None counts those of all scripts
    """
    scripts = tuple(_LETTERS) if language is None else scripts_of(language)
    return len(_patterns(scripts).right.findall(_ADDRESS.sub(" ", text))) if scripts else 0


def warn_of_other_script(sentences: Sequence[str], source: str, target: str) -> None:
    """Log a warning if at least half of the sentences are in another script than the source's.

    Args:
        sentences: to be translated
        source, target: languages of the model
    """
    if not scripts_of(source):
        return
    other = sum(is_in_other_script(sentence, source) for sentence in sentences)
    if other and 2 * other >= sum(1 for sentence in sentences if sentence.strip()):
        reverse = f"{target}-{source}"
        logger.warning(
            "%d of %d sentences are not in the script of %s, and the translation is from %s to %s:"
            " is this the right model and direction?%s",
            other,
            len(sentences),
            source,
            source,
            target,
            f" (-m {reverse} is the other one)" if reverse in BUNDLED_MODELS else "",
        )


class _Patterns:
    """What to look for in text of a language with these scripts."""

    def __init__(self, scripts: tuple[str, ...]) -> None:
        self._scripts = scripts
        self._others = [script for script in _LETTERS if script not in scripts]
        self.own = _letters(scripts)

    @cached_property
    def any_foreign(self) -> re.Pattern[str]:
        return _letters(self._others)

    @cached_property
    def right(self) -> re.Pattern[str]:
        return _units(self._scripts)

    @cached_property
    def foreign(self) -> re.Pattern[str]:
        return _units([script for script in self._others if script != "Latn"])


@lru_cache(maxsize=64)
def _patterns(scripts: tuple[str, ...]) -> _Patterns:
    return _Patterns(scripts)


def _letters(scripts: Sequence[str]) -> re.Pattern[str]:
    return re.compile(f"[{''.join(_LETTERS[script] for script in scripts)}]")


def _units(scripts: Sequence[str]) -> re.Pattern[str]:
    """A word of one of the scripts, or a character of one without spaces."""
    return re.compile(
        "|".join(f"[{_LETTERS[script]}]{'' if script in _NO_SPACES else '+'}" for script in scripts)
    )
