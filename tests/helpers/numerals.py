"""The toy task: Chinese numerals to English words, both sides made by code.

Small, and yet not word for word: 零 is read and not written, 一十 and 二十 become one word with
what follows, and an answer is either right or wrong.
"""

import random
from pathlib import Path

DIGITS = "零一二三四五六七八九"
ONES = [
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
]
TENS = ["_", "_", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
LARGEST = 9999


def chinese(number: int) -> str:
    """0 to 9999 in Chinese numerals: 3052 is 三千零五十二."""
    if number == 0:
        return DIGITS[0]
    text, gap = "", False
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // unit % 10
        if digit:
            text += (DIGITS[0] if gap and text else "") + DIGITS[digit] + name
            gap = False
        else:
            gap = True
    return text


def english(number: int) -> str:
    """0 to 9999 in English words: 3052 is three thousand fifty-two."""
    words = []
    if number >= 1000:
        words += [ONES[number // 1000], "thousand"]
    if number % 1000 >= 100:
        words += [ONES[number % 1000 // 100], "hundred"]
    rest = number % 100
    if 0 < rest < 20 or number == 0:
        words.append(ONES[rest])
    elif rest:
        words.append(TENS[rest // 10] + ("-" + ONES[rest % 10] if rest % 10 else ""))
    return " ".join(words)


def write_corpus(folder: Path, *, train: int, held_out: int, seed: int = 1) -> list[int]:
    """Write train.tsv and valid.tsv, and return held-out numbers that are in neither."""
    numbers = random.Random(seed).sample(range(LARGEST + 1), train + 200 + held_out)
    for name, chosen in (("train", numbers[:train]), ("valid", numbers[train : train + 200])):
        lines = (f"{chinese(n)}\t{english(n)}\n" for n in chosen)
        (folder / f"{name}.tsv").write_text("".join(lines), "utf-8")
    return numbers[train + 200 :]


RECIPE = """
[model]
preset = "tiny"
d_model = 64
num_heads = 4
encoder_layers = 2
decoder_layers = 2
dropout = 0.05

[vocabulary]
size = 300

[data]
source_language = "zh"
target_language = "en"
max_length = 40

[[data.train]]
path = "train.tsv"

[data.validation]
path = "valid.tsv"

[training]
max_steps = 800
max_tokens = 2048
learning_rate = 4e-3
warmup_steps = 150
cooldown_steps = 400
validate_steps = 400
validation_max_sentences = 100
validation_max_length = 30
log_steps = 20
precision = "fp32"
average_checkpoints = 2
"""
