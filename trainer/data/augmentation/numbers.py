"""Other numbers, months, weekdays and currencies in the corpora's own sentences."""

import re

import numpy as np

from .numerals import chinese_numeral, english_numeral, read_chinese_numeral
from .sides import choose, replace_once

_DIGITS = re.compile(r"(?<![\w.,:/-])\d+(?![\w.,:/-]*\d)(?![A-Za-z_])")
_LONGEST = 18  # digits; more are not surely a 64-bit integer
_NUMERAL = re.compile(r"(?<![第一二两三四五六七八九十百千万亿零])[一二两三四五六七八九十百]+")
# Not a count, or one whose English is no cardinal number.
_NOT_COUNTED = "月日号楼层班名些等级流千万亿"

_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_WEEKDAY_SIGNS = "一二三四五六日"
_CURRENCIES = {
    "美元": ("dollars", "US dollars"),
    "欧元": ("euros",),
    "英镑": ("pounds",),
    "日元": ("yen",),
    "元": ("yuan",),
    "块": ("yuan",),
    "块钱": ("yuan",),
    "元人民币": ("yuan",),
    "人民币": ("yuan", "RMB"),
    "港币": ("Hong Kong dollars",),
    "卢布": ("rubles",),
}
_CURRENCY = re.compile(r"(?<=[\d一二两三四五六七八九十百千万亿])(美元|欧元|英镑|日元|元|块钱|块)")


class NumberSubstitution:
    """Replaces what counts, dates or prices something by another of its kind, in both sentences."""

    def __call__(
        self, chinese: str, english: str, generator: np.random.Generator, *, from_english: bool
    ) -> tuple[str, str] | None:
        """None if the sentences have nothing of the kind in common."""
        changed = False
        for change in (_numeral, _digits, _month, _weekday, _currency):
            result = change(chinese, english, generator)
            if result is not None:
                (chinese, english), changed = result, True
        return (chinese, english) if changed else None


Change = tuple[str, str] | None


def _both(chinese: str, english: str, old: tuple[str, str], new: tuple[str, str]) -> Change:
    first, second = replace_once(chinese, old[0], new[0]), replace_once(english, old[1], new[1])
    return None if first is None or second is None else (first, second)


def _digits(chinese: str, english: str, generator: np.random.Generator) -> Change:
    """An equal number in digits, of two and more so that nouns keep their number."""
    shared = sorted(set(_DIGITS.findall(chinese)) & set(_DIGITS.findall(english)))
    shared = [digits for digits in shared if len(digits) <= _LONGEST and int(digits) > 1]
    if not shared:
        return None
    old = choose(shared, generator)
    year = len(old) == 4 and old[:2] in ("19", "20")
    low, high = (1900, 2040) if year else (max(2, 10 ** (len(old) - 1)), 10 ** len(old))
    new = str(generator.integers(low, high))
    if re.search(rf"\d{old}|{old}\d", chinese + " " + english):
        return None
    return _both(chinese, english, (old, old), (new, new))


def _numeral(chinese: str, english: str, generator: np.random.Generator) -> Change:
    """A Chinese numeral whose English is a number word or digits."""
    for match in _NUMERAL.finditer(chinese):
        value = read_chinese_numeral(match[0])
        after = chinese[match.end() : match.end() + 1]
        if value is None or not 2 <= value < 100 or not after or after in _NOT_COUNTED:
            continue
        word = english_numeral(value)
        found = re.findall(rf"(?<![\w-])({word}|{value})(?![\w-])", english, re.IGNORECASE)
        if len(found) != 1:
            continue
        new = int(generator.integers(2, 13 if after == "点" or generator.random() < 0.5 else 100))
        form = english_numeral(new)
        if found[0].isdigit():
            form = str(new)
        elif found[0][0].isupper():
            form = form.capitalize()
        start, end = match.span()
        sentence = chinese[:start] + chinese_numeral(new, counted=True) + chinese[end:]
        changed = re.sub(rf"(?<![\w-]){found[0]}(?![\w-])", form, english)
        return sentence, changed
    return None


def _month(chinese: str, english: str, generator: np.random.Generator) -> Change:
    """The name of a month."""
    for number, name in enumerate(_MONTHS, start=1):
        for old in (f"{chinese_numeral(number)}月", f"{number}月"):
            place = chinese.find(old)
            before = chinese[place - 1 : place] if place > 0 else ""
            if place < 0 or before.isdigit() or before in tuple("十一二"):
                continue
            new = int(generator.integers(1, 13))
            form = f"{chinese_numeral(new)}月" if not old[0].isdigit() else f"{new}月"
            return _both(chinese, english, (old, name), (form, _MONTHS[new - 1]))
    return None


def _weekday(chinese: str, english: str, generator: np.random.Generator) -> Change:
    """The name of a weekday."""
    for start in ("星期", "周", "礼拜"):
        for sign, name in zip(_WEEKDAY_SIGNS, _WEEKDAYS, strict=True):
            if f"{start}{sign}" in chinese and name in english:
                new = int(generator.integers(7))
                old = (f"{start}{sign}", name)
                return _both(
                    chinese, english, old, (f"{start}{_WEEKDAY_SIGNS[new]}", _WEEKDAYS[new])
                )
    return None


def _currency(chinese: str, english: str, generator: np.random.Generator) -> Change:
    """The currency after a number."""
    match = _CURRENCY.search(chinese)
    if match is None:
        return None
    new = choose(list(_CURRENCIES), generator)
    new_form = choose(_CURRENCIES[new], generator)
    for form in (*_CURRENCIES[match[0]], "renminbi", "RMB"):
        if (number := re.search(rf"(?<=\w ){form}\b", english)) is not None:
            sentence = chinese[: match.start()] + new + chinese[match.end() :]
            return sentence, english[: number.start()] + new_form + english[number.end() :]
    for sign, old in (("$", "美元"), ("€", "欧元"), ("£", "英镑"), ("¥", "元")):
        if match[0] == old and english.count(sign) == 1:
            signs = {"美元": "$", "欧元": "€", "英镑": "£", "元": "¥"}
            new = choose(list(signs), generator)
            sentence = chinese[: match.start()] + new + chinese[match.end() :]
            return sentence, english.replace(sign, signs[new])
    return None
