"""Texts as no corpus has them: every plane of Unicode, controls, marks, lengths."""

import random
from collections.abc import Sequence

PLANES = 17
_CONTROLS = "".join(map(chr, [*range(32), *range(127, 160)]))
_INVISIBLE = "\u00ad\u034f\u061c\u115f\u17b4\u180e\u200b\u200c\u200d\u2060\u2061\u2063\ufeff\u3164"
_DIRECTIONS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_SPACES = " \t\n\v\f\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2009\u2028\u2029\u202f\u205f\u3000"
_MARKS = "".join(map(chr, [*range(0x300, 0x370), *range(0x1AB0, 0x1AC0), 0x20DD, 0x20E3, 0xFE0F]))
_EMOJI = (
    "😀",
    "👨\u200d👩\u200d👧\u200d👦",
    "👍🏽",
    "🇨🇳",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "1\ufe0f\u20e3",
    "❤\ufe0f\u200d🔥",
)
_SPECIAL = (
    *(
        "<s>",
        "</s>",
        "<unk>",
        "<pad>",
        "<s></s>",
        "\u2581",
        "\u2581\u2581a",
        "<0x0A>",
        "<extra_id_0>",
    ),
    *("|||", "a\tb\tc", "%s %n {0}", "${HOME}", "'; --", "<script>", "NaN", "None", "0", "\\", '"'),
    *("\x1b[31mred", "\ufffe", "\uffff", "\U0010ffff", "\ue000", "ﬁ", "Å", "A\u030a", "가", "가"),
)
_NO_TEXT: tuple[object, ...] = (None, 42, b"bytes", 1.5, ["nested"], float("nan"))
LONGEST = 200_000  # characters


def make_text(rng: random.Random) -> str:
    """One text, of a kind that is drawn first."""
    return rng.choices(_KINDS, _WEIGHTS)[0](rng)


def make_batch(rng: random.Random) -> tuple[list[object], bool]:
    """1 to 16 texts; now and then one is no text, or none that UTF-8 can hold.

    Returns:
        the batch, and whether every part of it is a text
    """
    batch: list[object] = [make_text(rng) for _ in range(rng.randint(1, 16))]
    chance = rng.random()
    if chance < 0.06:
        text = make_text(rng)[:50]
        at = rng.randint(0, len(text))
        surrogate = chr(rng.randrange(0xD800, 0xE000))
        batch[rng.randrange(len(batch))] = text[:at] + surrogate + text[at:]
    elif chance < 0.10:
        batch[rng.randrange(len(batch))] = rng.choice(_NO_TEXT)
    return batch, chance >= 0.10


def _of_a_plane(rng: random.Random) -> str:
    """Characters of one plane, assigned or not; never a surrogate."""
    plane = rng.randrange(PLANES)
    return "".join(_character(rng, plane) for _ in range(rng.randint(1, 40)))


def _of_all_planes(rng: random.Random) -> str:
    return "".join(_character(rng, rng.randrange(PLANES)) for _ in range(rng.randint(1, 40)))


def _character(rng: random.Random, plane: int) -> str:
    point = (plane << 16) | rng.randrange(0x10000)
    return chr(point) if not 0xD800 <= point < 0xE000 else chr(0x4E00 + point % 0x5000)


def _of_a_block(rng: random.Random) -> str:
    """Neighbours: what a script has, and what is not assigned beside it."""
    first = rng.randrange(0x20, 0xD700, 0x80)
    return "".join(chr(first + rng.randrange(0x80)) for _ in range(rng.randint(1, 60)))


def _mixture(rng: random.Random) -> str:
    """Ordinary words, and something between them that they do not expect."""
    odd = rng.choice((_CONTROLS, _INVISIBLE, _DIRECTIONS, _SPACES, _MARKS))
    words = rng.choices(("我爱你", "三千零五十二", "hello", "Ünïcode", "日本", "42", ""), k=5)
    return "".join(word + "".join(rng.choices(odd, k=rng.randint(0, 4))) for word in words)


def _only_odd(rng: random.Random) -> str:
    odd = rng.choice((_CONTROLS, _INVISIBLE, _DIRECTIONS, _SPACES, _MARKS))
    return "".join(rng.choices(odd, k=rng.choice((1, 2, 5, 300))))


def _emoji(rng: random.Random) -> str:
    return "".join(rng.choices(_EMOJI, k=rng.randint(1, 12)))


def _marks_on_one(rng: random.Random) -> str:
    return rng.choice("ae我") + "".join(rng.choices(_MARKS, k=rng.choice((1, 30, 1000))))


def _special(rng: random.Random) -> str:
    return "".join(rng.choices(_SPECIAL, k=rng.randint(1, 4)))


def _ordinary(rng: random.Random) -> str:
    return "".join(
        rng.choices("零一二三四五六七八九十百千我你他今天天气很好，。", k=rng.randint(0, 30))
    )


def _long(rng: random.Random) -> str:
    unit = rng.choice(
        ("我", "a", "a ", "三千零五十二", " ", "\u0301", "x" * 500 + " ", "😀", "\x00")
    )
    return (unit * LONGEST)[: rng.choice((600, 5000, 60_000, LONGEST))]


_KINDS = (
    *(_of_a_plane, _of_all_planes, _of_a_block, _mixture, _only_odd, _emoji, _marks_on_one),
    *(_special, _ordinary, _long),
)
_WEIGHTS: Sequence[float] = (20, 5, 15, 20, 8, 6, 4, 8, 13, 0.5)
