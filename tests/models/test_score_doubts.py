"""The measure of doubts, against counting every pair."""

import math

import numpy as np
from helpers.field_scores import area_under_curve


def test_it_is_the_share_of_pairs_in_the_right_order() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 9, 60).tolist()
    is_bad = (rng.random(60) < 0.3).tolist()
    pairs = [
        1.0 if bad > good else 0.5 if bad == good else 0.0
        for bad, b in zip(values, is_bad, strict=True)
        if b
        for good, g in zip(values, is_bad, strict=True)
        if not g
    ]
    assert math.isclose(area_under_curve(values, is_bad), sum(pairs) / len(pairs))
    assert area_under_curve([1, 2, 3], [False, False, True]) == 1
    assert math.isnan(area_under_curve([1, 2], [True, True]))
