"""The low-rank preview, against numpy's singular value decomposition and by counting."""

import numpy as np
import pytest

from tfm.export.shortlist.low_rank import MOST_MISSED, fit_low_rank, smallest_rank

GENERATOR = np.random.default_rng(4)
WEIGHT = GENERATOR.standard_normal((90, 64)).astype(np.float32)
BIAS = GENERATOR.standard_normal(90).astype(np.float32)


def hidden_states(count: int, dimensions: int) -> np.ndarray:
    """Rows [count, 64] that lie in few dimensions around a mean that is not 0."""
    axes = np.random.default_rng(5).standard_normal((dimensions, 64))
    rows = GENERATOR.standard_normal((count, dimensions)) @ axes + 1.5
    return np.asarray(rows, np.float32)


def test_error_is_the_least_that_the_rank_allows() -> None:
    """By Eckart and Young: the singular values of the logits of the centred rows that are cut."""
    rows = hidden_states(400, 40)
    exact = rows @ WEIGHT.T + BIAS
    preview = fit_low_rank(WEIGHT, BIAS, rows, 12)
    error = np.linalg.norm(preview.logits(rows) - exact)
    values = np.linalg.svd((rows - rows.mean(axis=0)) @ WEIGHT.T, compute_uv=False)
    assert error == pytest.approx(np.linalg.norm(values[12:]), rel=0.02)  # shrinkage costs a little


def test_reduced_values_have_mean_0_and_variance_1() -> None:
    rows = hidden_states(500, 64)
    reduced = fit_low_rank(WEIGHT, BIAS, rows, 16).reduce(rows)
    np.testing.assert_allclose(reduced.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(reduced.var(axis=0), 1, atol=0.1)


def test_full_rank_of_the_rows_is_exact() -> None:
    rows = hidden_states(300, 10)
    preview = fit_low_rank(WEIGHT, BIAS, rows, 10)
    np.testing.assert_allclose(preview.logits(rows), rows @ WEIGHT.T + BIAS, atol=0.05)


def test_tokens_that_are_never_written_have_no_preview() -> None:
    bias = np.where(np.arange(90) == 7, -np.inf, BIAS).astype(np.float32)
    preview = fit_low_rank(WEIGHT, bias, hidden_states(200, 20), 16)
    logits = preview.logits(hidden_states(3, 20))
    assert np.isneginf(logits[:, 7]).all()
    assert np.isfinite(np.delete(logits, 7, axis=1)).all()


def test_smallest_rank_is_one_step_where_that_is_enough() -> None:
    weight = GENERATOR.standard_normal((200, 256)).astype(np.float32)
    axes = GENERATOR.standard_normal((20, 256))
    rows = (GENERATOR.standard_normal((400, 20)) @ axes).astype(np.float32)
    assert smallest_rank(weight, np.zeros(200, np.float32), rows, 8) == 32


def test_smallest_rank_is_half_of_d_where_nothing_less_is_enough() -> None:
    weight = GENERATOR.standard_normal((500, 128)).astype(np.float32)
    rows = GENERATOR.standard_normal((1000, 128)).astype(np.float32)
    zeros = np.zeros(500, np.float32)
    rank = smallest_rank(weight, zeros, rows, 1)
    assert rank == 64
    below = fit_low_rank(weight, zeros, rows[::2], 32).logits(rows[1::2])
    missed = np.mean(below.argmax(axis=1) != (rows[1::2] @ weight.T).argmax(axis=1))
    assert missed > MOST_MISSED
