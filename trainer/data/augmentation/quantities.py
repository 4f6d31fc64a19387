"""Measures, prices and times in symbols, in the corpora's own sentences: 五公里 and five kilometers
become 7.5 km on both sides."""

import re
from dataclasses import dataclass

import numpy as np

from .copied_items import random_clock, random_grouped
from .numerals import english_numeral
from .sides import choose

_SIGNS = "零一二两三四五六七八九十百千万亿"
_CHINESE_NUMBER = rf"(?:\d[\d,]*(?:\.\d+)?[万亿]*|[{_SIGNS}]+)"
_WORD = "|".join(
    ["a", "an", "hundred", "thousand", "million", "billion", *map(english_numeral, range(100))]
)
_ENGLISH_NUMBER = re.compile(
    rf"(?<![\w-])(?:\d[\d,]*(?:\.\d+)?|{_WORD})(?: (?:and )?(?:{_WORD}))* ?$", re.IGNORECASE
)
_LONGEST = 60  # characters of an English number
# What makes another quantity of it: 几公里, 五公里多.
_NOT_BEFORE = rf"几数多半第.,\d{_SIGNS}"
_NOT_AFTER = "多半来左"


@dataclass(frozen=True, slots=True)
class _Unit:
    """What a unit is called, and how it is written instead.

    Attributes:
        chinese: the whole quantity in Chinese
        english: the word or symbol after a number in English
        symbols: of which one is written, more often if it is there more often
        signs: what English writes before the number, where it does so; `symbols` then stand there
    """

    chinese: re.Pattern[str]
    english: re.Pattern[str]
    symbols: tuple[str, ...]
    signs: re.Pattern[str] | None = None


def _unit(symbols: str, chinese: str, english: str, signs: str = "") -> _Unit:
    amount = r"\s?\d[\d,]*(?:\.\d+)?(?! ?(?:million|billion|thousand|m\b|k\b))(?!\d)"
    return _Unit(
        _in_chinese(f"{_CHINESE_NUMBER} ?(?:{chinese})"),
        re.compile(rf"(?<![a-z])(?:{english})(?![\w²])", re.IGNORECASE),
        tuple(symbols.split()),
        re.compile(rf"(?<![\w$])(?:{signs}){amount}") if signs else None,
    )


def _in_chinese(quantity: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![{_NOT_BEFORE}])(?:{quantity})(?![{_NOT_AFTER}])")


_SPEED = _Unit(
    _in_chinese(
        rf"(?:每小时|时速){_CHINESE_NUMBER}(?:公里|千米)|{_CHINESE_NUMBER}(?:公里|千米)每小时"
    ),
    re.compile(r"\bkilomet(?:er|re)s (?:per|an) hour\b"),
    ("km/h",),
)
_PERCENT = _Unit(
    _in_chinese(rf"百分之{_CHINESE_NUMBER}|{_CHINESE_NUMBER}%"),
    re.compile(r"\bper ?cent\b|%"),
    ("%",),
)
# 米 is rice, too, and 克拉 a carat. Square meters and kilometers an hour come before meters and
# kilometers.
_UNITS = (
    _SPEED,
    _PERCENT,
    _unit("m² m2", "平方米", "square met(?:er|re)s?"),
    _unit("kg", "公斤|千克", "kilograms?|kilos?|kgs?"),
    _unit("km", "公里|千米", "kilomet(?:er|re)s?|kms?"),
    _unit("cm", "厘米|公分", "centimet(?:er|re)s?|cm"),
    _unit("mm", "毫米", "millimet(?:er|re)s?|mm"),
    _unit("m", "米(?![饭粒酒])", "met(?:er|re)s?"),
    _unit("mg", "毫克", "milligrams?|mg"),
    _unit("g", "克(?!拉)", "grams?"),
    _unit("t", "吨", "tons?|tonnes?"),
    _unit("ml mL", "毫升", "millilit(?:er|re)s?|ml"),
    _unit("L L l", "公升|升", "lit(?:er|re)s?"),
    _unit("ha", "公顷", "hectares?"),
    _unit("°C ℃ ℃", "摄氏度|度", "degrees?(?: Celsius| centigrade)?"),
    _unit("kW W", "千瓦|瓦", "(?:kilo)?watts?"),
    _unit("V", "伏特?", "volts?"),
    _unit("GB TB MB", "GB|MB|TB", "(?:giga|mega|tera)bytes?|GB|MB|TB"),
    _unit("$ $ $ US$", "美元|美金", r"(?:US |U\.S\. )?dollars?", r"(?:US)?\$"),
    _unit("€", "欧元", "euros?", "€"),
    _unit("£", "英镑", "pounds?", "£"),
    _unit("¥", "元(?!旦)(?:人民币)?|块钱|日元", "yuan|RMB|yen", "[¥￥]"),
    _unit("₩", "韩元", "won", "₩"),
    _unit("₹", "卢比", "rupees?", "₹"),
)
# Every quantity has one of them; most sentences have none, which is quickly seen.
_HINT = re.compile(rf"[\d{_SIGNS}] ?[%公千平摄厘毫米克吨升度瓦伏美欧英元块日韩卢点GMT]|百分之")
# A time of the day, and what says which half of it.
_HALF_OF_DAY = re.compile(
    r"[上下]午|早上|晚上|中午|凌晨|傍晚|[ap]\.?m\b|morning|afternoon|evening|night"
)
_CHINESE_TIME = re.compile(
    rf"(?<![第.\d{_SIGNS}])(?:\d{{1,2}}|[{_SIGNS[:12]}]{{1,3}})点"
    rf"(?:钟|半|整|[一三]刻|(?:\d{{1,2}}|[{_SIGNS[:12]}]{{2,3}})分?)?"
    rf"(?![钟半\d{_SIGNS}{_NOT_AFTER}前后心儿])"
)
_ENGLISH_TIME = re.compile(
    r"(?<![\d:])(?:\d{1,2}:\d{2}|\b(?:\d{1,2}|[a-z]+) o'clock)(?!:)", re.IGNORECASE
)

Place = tuple[int, int]


class QuantitySubstitution:
    """Writes a measure, price, share or time of the day that both sentences hold with another
    number, in digits and the same symbols on both sides: those are to be copied."""

    def __call__(
        self, chinese: str, english: str, generator: np.random.Generator, *, from_english: bool
    ) -> tuple[str, str] | None:
        """None unless each sentence holds exactly one quantity of the same unit."""
        if _HINT.search(chinese) is None:
            return None
        for unit in _UNITS:
            there = _one(list(unit.chinese.finditer(chinese)))
            if there is not None and (here := _in_english(unit, english)) is not None:
                return _replaced(
                    chinese, there, english, here, _quantity(unit, generator), generator
                )
        there = _one(list(_CHINESE_TIME.finditer(chinese)))
        if there is not None and _HALF_OF_DAY.search(f"{chinese} {english}") is None:
            here = _one(list(_ENGLISH_TIME.finditer(english)))
            if here is not None:
                time = random_clock(generator)
                return _replaced(chinese, there, english, here, time, generator)
        return None


def _one(matches: list[re.Match[str]]) -> Place | None:
    """The place of the only match."""
    return matches[0].span() if len(matches) == 1 else None


def _in_english(unit: _Unit, english: str) -> Place | None:
    """The number and the unit, if the unit is named once."""
    found = list(unit.english.finditer(english))
    signed = list(unit.signs.finditer(english)) if unit.signs is not None else []
    if len(found) + len(signed) != 1:
        return None
    if signed:
        return signed[0].span()
    end = found[0].start()
    number = _ENGLISH_NUMBER.search(english, max(0, end - _LONGEST), end)
    return None if number is None else (number.start(), found[0].end())


def _replaced(
    chinese: str,
    there: Place,
    english: str,
    here: Place,
    new: str,
    generator: np.random.Generator,
) -> tuple[str, str]:
    """Both sentences with `new` in a place of each; in Chinese with spaces about it or without."""
    before, after = chinese[: there[0]], chinese[there[1] :]
    spaced = new
    if generator.random() < 0.5:
        spaced = f"{' ' if before else ''}{new}{' ' if after[:1].isalnum() else ''}"
    return before + spaced + after, english[: here[0]] + new + english[here[1] :]


def _quantity(unit: _Unit, generator: np.random.Generator) -> str:
    """A number at random with a symbol of the unit."""
    symbol = choose(unit.symbols, generator)
    number = str(generator.integers(1, 10 ** int(generator.integers(1, 5))))
    if unit.signs is not None:
        if generator.random() < 0.4:
            number = random_grouped(generator)
        return symbol + number
    if symbol == "%":
        number = str(generator.integers(1, 101))
    if generator.random() < 0.3:
        number = f"{generator.integers(100)}.{generator.integers(1, 100)}"
    if symbol in ("°C", "℃"):
        return choose(("", "", "", "-"), generator) + number + symbol
    return number + ("" if symbol == "%" else choose(("", " ", " ", " "), generator)) + symbol
