"""A cheap preview of the logits: the output projection through few dimensions.

Shim et al. 2017, "SVD-softmax: Fast Softmax Approximation on Large Vocabulary Neural Networks",
preview the logits with the first singular vectors of the projection and compute the largest anew.
Here the vectors are chosen for the hidden states that the decoder has on real sentences: those lie
in fewer dimensions than the projection's rows, so that the same number of vectors errs less.

Shapes: V vocabulary, D d_model, R rank, n rows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

RANK_STEP = 32
MOST_MISSED = 0.001  # share of tokens whose best candidate the preview may leave out
SHRINKAGE = 1e-3  # of the covariance towards a multiple of the identity


@dataclass(frozen=True, slots=True)
class LowRankProjection:
    """logits ~ (hidden @ reduction + offset) @ table.T + bias.

    Attributes:
        reduction: [D, R]; on the rows that it was fitted on, reduced values have mean 0 and
            variance 1
        offset: [R]
        table: [V, R]
        bias: [V], -inf for tokens that are never written
    """

    reduction: Floats
    offset: Floats
    table: Floats
    bias: Floats

    def reduce(self, hidden: Floats) -> Floats:
        """[n, D] to [n, R]."""
        return hidden @ self.reduction + self.offset

    def logits(self, hidden: Floats) -> Floats:
        """[n, D] to the preview [n, V]."""
        return self.reduce(hidden) @ self.table.T + self.bias


def fit_low_rank(weight: Floats, bias: Floats, rows: Floats, rank: int) -> LowRankProjection:
    """The projection of this rank with the least squared error of the logits on some rows.

    With hidden = mean + C^1/2 z, z of variance 1, the error of the logits is that of the matrix
    weight C^1/2, which its first singular vectors approximate best.

    Args:
        weight: [V, D]
        bias: [V]
        rows: hidden states [n, D]
    """
    dimensions = weight.shape[1]
    mean = rows.mean(axis=0, dtype=np.float64)
    centred = rows - mean
    covariance = centred.T @ centred / len(rows)
    covariance += np.eye(dimensions) * (SHRINKAGE * np.trace(covariance) / dimensions + 1e-12)
    variances, axes = np.linalg.eigh(covariance)
    deviations = np.sqrt(variances)
    root, inverse = (axes * deviations) @ axes.T, (axes / deviations) @ axes.T
    scaled = weight.astype(np.float64) @ root
    _, vectors = np.linalg.eigh(scaled.T @ scaled)
    first = vectors[:, ::-1][:, :rank]  # right singular vectors, the largest first
    reduction = inverse @ first
    return LowRankProjection(
        reduction=reduction.astype(np.float32),
        offset=-(mean @ reduction).astype(np.float32),
        table=(scaled @ first).astype(np.float32),
        bias=(bias + weight @ mean).astype(np.float32),
    )


def smallest_rank(weight: Floats, bias: Floats, rows: Floats, candidates: int) -> int:
    """The smallest rank, a multiple of RANK_STEP, whose preview loses few best tokens; half of D
    when none does.

    Fitted on every other row and tried on the rest: at most MOST_MISSED of their best tokens may
    be missing among the preview's `candidates` best.
    """
    fitted, tried = rows[::2], rows[1::2]
    best = (tried @ weight.T + bias).argmax(axis=1)
    half = int(weight.shape[1]) // 2
    for rank in range(RANK_STEP, half, RANK_STEP):
        preview = fit_low_rank(weight, bias, fitted, rank).logits(tried)
        better = preview > np.take_along_axis(preview, best[:, None], axis=1)
        if np.mean(better.sum(axis=1) >= candidates) <= MOST_MISSED:
            return int(rank)
    return half
