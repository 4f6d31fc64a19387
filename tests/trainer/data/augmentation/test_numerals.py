"""Numerals: against lists written by hand, and back again."""

import pytest

from tfm.trainer.data.augmentation.numerals import (
    chinese_numeral,
    english_numeral,
    read_chinese_numeral,
)

CHINESE = {
    0: "零",
    2: "二",
    10: "十",
    11: "十一",
    20: "二十",
    35: "三十五",
    100: "一百",
    101: "一百零一",
    110: "一百一十",
    112: "一百一十二",
    250: "二百五十",
    1000: "一千",
    1001: "一千零一",
    1010: "一千零一十",
    1100: "一千一百",
    2024: "二千零二十四",
    9999: "九千九百九十九",
}
ENGLISH = {0: "zero", 7: "seven", 12: "twelve", 19: "nineteen", 20: "twenty", 45: "forty-five"}


def test_numbers_are_written_as_people_write_them() -> None:
    assert {value: chinese_numeral(value) for value in CHINESE} == CHINESE
    assert {value: english_numeral(value) for value in ENGLISH} == ENGLISH
    assert chinese_numeral(2, counted=True) == "两"
    assert chinese_numeral(12, counted=True) == "十二"


def test_every_chinese_numeral_is_read_back() -> None:
    assert all(read_chinese_numeral(chinese_numeral(value)) == value for value in range(10_000))
    assert read_chinese_numeral("两") == 2
    assert read_chinese_numeral("两百") == 200


@pytest.mark.parametrize("text", ["", "三明", "十十", "一二", "百", "零零", "三五", "万"])
def test_what_is_no_numeral_is_none(text: str) -> None:
    assert read_chinese_numeral(text) is None


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 9999"):
        chinese_numeral(10_000)
    with pytest.raises(ValueError, match="from 0 to 99"):
        english_numeral(100)
