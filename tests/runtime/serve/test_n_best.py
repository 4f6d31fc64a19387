"""The best sums of scores, against all of them."""

import itertools
import random

import pytest

from tfm.runtime.serve.n_best import best_combinations


@pytest.mark.parametrize("seed", range(20))
def test_all_combinations_sorted(seed: int) -> None:
    random_ = random.Random(seed)
    scores = [
        sorted((random_.uniform(-5, 0) for _ in range(random_.randint(1, 4))), reverse=True)
        for _ in range(random_.randint(1, 5))
    ]
    every = itertools.product(*(range(len(options)) for options in scores))
    sums = sorted((sum(s[r] for s, r in zip(scores, c, strict=True)) for c in every), reverse=True)
    for count in (1, 3, 1000):
        found = best_combinations(scores, count)
        assert len(found) == len(set(found)) == min(count, len(sums))
        assert [
            sum(s[r] for s, r in zip(scores, chosen, strict=True)) for chosen in found
        ] == pytest.approx(sums[:count])


def test_a_long_text_is_quick() -> None:
    found = best_combinations([[0.0, -1.0, -2.0, -3.0]] * 20_000, 4)
    assert [sum(chosen) for chosen in found] == [0, 1, 1, 1]


def test_nothing_has_one_combination() -> None:
    assert best_combinations([], 3) == [()]
