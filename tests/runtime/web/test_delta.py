"""A delta holds all that is new, and little more."""

import random

import pytest
from helpers.javascript import javascript
from hypothesis import given, settings
from hypothesis import strategies as st

from tfm.runtime.web.delta import make_delta


def changed(base: bytes, seed: int) -> bytes:
    """Parts of `base` in another order, with other bytes between them."""
    chosen = random.Random(seed)
    parts = []
    for _ in range(12):
        begin = chosen.randrange(len(base))
        parts += [base[begin : begin + chosen.randrange(4000)], chosen.randbytes(50)]
    return b"".join(parts)


BASE = random.Random(1).randbytes(20_000) + bytes(3000)


@pytest.mark.parametrize("seed", range(5))
def test_the_page_puts_it_together(seed: int) -> None:
    new = changed(BASE, seed)
    delta = make_delta(BASE, new)
    assert bytes(javascript("delta", base=list(BASE), delta=list(delta))) == new
    assert len(delta) < 0.5 * len(new)


@pytest.mark.parametrize(
    ("base", "new"), [(b"", b""), (b"", b"a" * 500), (BASE, b""), (BASE, BASE)]
)
def test_edges(base: bytes, new: bytes) -> None:
    delta = make_delta(base, new)
    assert bytes(javascript("delta", base=list(base), delta=list(delta))) == new


@settings(max_examples=50)
@given(st.binary(max_size=2000), st.integers(0, 3))
def test_it_is_never_much_longer_than_the_file(new: bytes, times: int) -> None:
    assert len(make_delta(new * times, new)) <= len(new) + 30
