"""Sets of decoding options: right and wrong types, limits and beyond, all fields and none."""

import math
import random
import typing
from fractions import Fraction
from typing import Any

import numpy as np

from tfm.runtime.options import LARGEST_INTEGER, DecodingOptions, declared_options

_WRONG: tuple[object, ...] = (
    *(True, "4", "", b"4", [4], {}, {"a": 1}, 1j, object, float("nan"), float("inf"), -math.inf),
    *(2**31, 2**63, 10**400, -1, -(2**63), 1.5, "\ud800", np.array([1, 2])),
)
_RIGHT_INTEGERS: tuple[object, ...] = (np.int64(2), np.int32(3), np.uint8(1), 0, 1, 2, 3, 5, 8)
_RIGHT_NUMBERS: tuple[object, ...] = (
    *(0, 1, 2, 0.0, 0.5, 0.6, 1.0, 1.3, 2.0, 1e-9, 1e-40, 1e30, 1e39, 1e300, 5e-324),
    *(np.float32(0.7), np.float64(1.2), np.int64(1), Fraction(1, 3)),
)
_TEXTS: tuple[object, ...] = ("", "one", "Well,", "三", " ", "\x00", "x" * 400, "\u0301", "<s>")
_ORDINARY = 1e-30  # as a penalty: what is smaller may take every score beyond a float
_EXTREME: tuple[object, ...] = (64, 1000, LARGEST_INTEGER - 1, LARGEST_INTEGER)


def make_options(rng: random.Random, vocab_size: int) -> dict[str, Any]:
    """A set of options by name, of which some may be wrong."""
    declared = declared_options()
    count = rng.choice((1, 1, 2, 2, 3, 4, len(declared)))
    chosen = rng.sample(declared, min(count, len(declared)))
    wrong = rng.random() < 0.3
    options = {name: _right(rng, type_, vocab_size) for name, type_, _ in chosen}
    if wrong:
        options[rng.choice(list(options))] = rng.choice(_WRONG)
    elif rng.random() < 0.12:
        options[rng.choice([name for name, type_, _ in declared if type_ is int])] = rng.choice(
            _EXTREME
        )
    if rng.random() < 0.01:
        options["no_such_option"] = 1
    return options


def is_valid(options: dict[str, Any], defaults: DecodingOptions, vocab_size: int) -> bool:
    """Whether README's table allows a set of options: this is written apart from options.py."""
    fields = {name: (type_, spec) for name, type_, spec in declared_options()}
    for name, value in options.items():
        if name not in fields:
            return False
        type_, spec = fields[name]
        if type_ is str:
            if not isinstance(value, str) or any(0xD800 <= ord(c) < 0xE000 for c in value):
                return False
        elif type_ is bool:
            if not isinstance(value, bool):
                return False
        elif type_ in (int, float):
            if not _number_fits(value, type_, spec):
                return False
        else:
            if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
                return False
            if typing.get_args(type_)[0] is str:
                if not all(isinstance(text, str) and _is_visible(text) for text in value):
                    return False
            elif not all(_number_fits(i, int, spec) and i < vocab_size for i in value):
                return False
    return _fit_together(options, defaults)


def _is_visible(text: str) -> bool:
    return bool(text.strip()) and not any(0xD800 <= ord(c) < 0xE000 for c in text)


def is_demanding(options: dict[str, Any]) -> bool:
    """Whether the set may ask for more memory than a trial has, or for scores beyond what a
    float holds: it may then be refused."""
    return any(
        value >= 64 if isinstance(value, (int, np.integer)) else not _ORDINARY < value < 1e30
        for value in options.values()
        if isinstance(value, (int, float, np.number)) and value
    )


def _number_fits(value: Any, type_: type, spec: Any) -> bool:
    kinds = (int, np.integer) if type_ is int else (int, float, np.number, Fraction)
    if not isinstance(value, kinds) or isinstance(value, (bool, complex)):
        return False
    if type_ is int and value > LARGEST_INTEGER:
        return False
    try:
        if not math.isfinite(float(value)):
            return False
    except OverflowError:
        return False
    if spec.high is not None and value > spec.high:
        return False
    low_enough = spec.low is None or value >= spec.low
    return low_enough and (spec.above is None or value > spec.above)


def _fit_together(options: dict[str, Any], defaults: DecodingOptions) -> bool:
    beam_size, n_best = options.get("beam_size"), options.get("num_hypotheses")
    if beam_size is not None and n_best is not None and n_best > beam_size:
        return False
    if not options.get("temperature", defaults.temperature):
        for name, neutral in (("top_k", 0), ("top_p", 1), ("seed", 0)):
            if name in options and options[name] != neutral:
                return False
    minimum = options.get("min_length", defaults.min_length)
    maximum = options.get("max_length", defaults.max_length)
    return "min_length" not in options or minimum <= maximum


def _right(rng: random.Random, type_: Any, vocab_size: int) -> Any:
    if type_ is int:
        return rng.choice(_RIGHT_INTEGERS)
    if type_ is float:
        return rng.choice(_RIGHT_NUMBERS)
    if type_ is str:
        return rng.choice(_TEXTS)
    if type_ is bool:
        return rng.random() < 0.5
    if typing.get_args(type_)[0] is str:
        return tuple(rng.choices(_TEXTS, k=rng.choice((0, 1, 2))))
    ids = [rng.randrange(vocab_size + (rng.random() < 0.05)) for _ in range(rng.choice((0, 1, 5)))]
    return rng.choice((tuple, list, set, np.array))(ids) if ids else ()
