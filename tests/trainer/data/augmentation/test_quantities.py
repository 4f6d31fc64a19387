"""Measures, prices and times become the same symbols on both sides."""

import re

import pytest

from tfm.trainer.data.augmentation import augment

NUMBER = r"\d+(?:\.\d+)?"


def changed(chinese: str, english: str, *, reverse: bool = False) -> set[tuple[str, str]]:
    """Chinese and English of 200 variants of a pair."""
    pair = (english, chinese, "c") if reverse else (chinese, english, "c")
    rows = augment([pair], "quantities", None, 200)
    return {(t, s) if reverse else (s, t) for s, t, _ in rows}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("chinese", "old", "english", "old_english", "item"),
    [
        ("我跑{}。", "五公里", "I ran {}.", "five kilometers", rf"{NUMBER} ?km"),
        ("重{}。", "3.5公斤", "It weighs {}.", "3.5 kg", rf"{NUMBER} ?kg"),
        ("有{}。", "二十平方米", "It has {}.", "twenty square meters", rf"{NUMBER} ?m[²2]"),
        (
            "车开{}。",
            "每小时一百公里",
            "It does {}.",
            "a hundred kilometers an hour",
            rf"{NUMBER} ?km/h",
        ),
        ("现在是{}。", "三十度", "{} is hot.", "Thirty degrees", rf"-?{NUMBER}[°℃]C?"),
        ("涨了{}。", "百分之二十", "It rose {}.", "20 percent", rf"{NUMBER}%"),
        ("要{}。", "两万三千美元", "It costs {}.", "$23,000", r"(?:US)?\$[\d,]+"),
        ("给我{}。", "五十块钱", "Give me {}.", "fifty yuan", r"¥[\d,]+"),
        ("我{}走。", "七点半", "I leave at {}.", "7:30", r"\d\d?:\d\d"),
        ("{}关门。", "十点", "It closes at {}.", "ten o'clock", r"\d\d?:\d\d"),
    ],
)
def test_both_sides_say_the_same_symbols(
    chinese: str, old: str, english: str, old_english: str, item: str, reverse: bool
) -> None:
    rows = changed(chinese.format(old), english.format(old_english), reverse=reverse)
    assert len(rows) > 50
    before, after = english.split("{}")
    for source, target in rows:
        new = target.removeprefix(before).removesuffix(after)
        assert re.fullmatch(item, new)
        assert new in source
        assert source.replace(" ", "") == chinese.format(new).replace(" ", "")


@pytest.mark.parametrize(
    ("chinese", "english"),
    [
        ("我走了五公里。", "I walked for an hour."),  # English does not say it
        ("我走了五公里。", "I walked five miles."),
        ("从五公里到十公里。", "From five kilometers to ten kilometers."),  # which is which?
        ("走了几公里。", "We walked some kilometers."),  # no number
        ("走了五公里多。", "We walked over five kilometers."),  # more than five
        ("三米饭", "Three meters of rice"),
        ("第三度发生。", "It happened three degrees ago."),
        ("下午三点见。", "See you at 3:00 in the afternoon."),  # 15:40 in the afternoon
        ("他五克拉的钻石", "his five grams of diamonds"),
        ("只要3美元。", "It is $3 million."),
        ("", ""),
    ],
)
def test_what_is_not_the_same_quantity_stays_out(chinese: str, english: str) -> None:
    assert changed(chinese, english) == set()
