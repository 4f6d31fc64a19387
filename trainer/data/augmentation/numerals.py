"""Numbers in Chinese and English words."""

_DIGITS = "零一二三四五六七八九"
_ONES = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
)
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def chinese_numeral(value: int, *, counted: bool = False) -> str:
    """A number from 0 to 9,999 in Chinese characters; 2 before a measure word (`counted`) is 两.

    Raises:
        ValueError: the number is not in that range
    """
    if not 0 <= value < 10_000:
        raise ValueError(f"no Chinese numeral for {value}: choose a number from 0 to 9999")
    if value < 10:
        return "两" if counted and value == 2 else _DIGITS[value]
    text, gap = "", False
    for unit, sign in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = value // unit % 10
        if digit:
            text += "零" * gap + _DIGITS[digit] + sign
            gap = False
        elif text:
            gap = True
    return text.removeprefix("一") if value < 20 else text


def read_chinese_numeral(text: str) -> int | None:
    """The number that characters such as 两百零五 write, up to 9,999; None if they write none."""
    if text in ("二", "两"):
        return 2
    plain = text.replace("两", "二")
    if not plain or any(sign not in _DIGITS + "十百千" for sign in plain):
        return None
    value, digit = 0, 0
    for sign in plain:
        if sign in _DIGITS:
            digit = _DIGITS.index(sign)
        else:
            value += (digit or 1) * {"十": 10, "百": 100, "千": 1000}[sign]
            digit = 0
    value += digit
    return value if value < 10_000 and chinese_numeral(value) == plain else None


def english_numeral(value: int) -> str:
    """A number from 0 to 99 in English words.

    Raises:
        ValueError: the number is not in that range
    """
    if not 0 <= value < 100:
        raise ValueError(f"no English numeral for {value}: choose a number from 0 to 99")
    if value < 20:
        return _ONES[value]
    tens, ones = divmod(value, 10)
    return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")
