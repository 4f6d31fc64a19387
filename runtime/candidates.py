"""The best one-token extensions of beams, in numpy: the rule "candidates" of search.py.

Shapes: B sentences still running, K beams, V vocabulary.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Candidates(NamedTuple):
    """The 2K best one-token extensions of every running sentence, best first."""

    scores: NDArray[np.float32]  # [B, 2K] summed log-probabilities
    ids: NDArray[np.int64]  # [B, 2K] token that is added
    origins: NDArray[np.int64]  # [B, 2K] beam that it is added to, 0 <= origin < K


def best_candidates(logits: NDArray[np.float32], scores: NDArray[np.float32]) -> Candidates:
    """The rule "candidates" in numpy.

    Args:
        logits: [B, K, V]
        scores: [B, K]
    """
    batch_size, beam_size, vocab_size = logits.shape
    log_probs = log_softmax(logits)
    totals = (scores[:, :, None] + log_probs).reshape(batch_size, -1)  # [B, K * V]
    best = np.stack([largest(row, 2 * beam_size) for row in totals])
    origins, ids = np.divmod(best, vocab_size)
    return Candidates(np.take_along_axis(totals, best, axis=1), ids, origins)


def largest(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Indices of the largest values, largest first, ties to the lower index.

    Only what reaches the count-th largest is sorted: sorting a whole vocabulary takes longer than
    a step of the decoder.
    """
    if count >= len(values):
        return np.argsort(-values, kind="stable")
    threshold = np.partition(values, -count)[-count]
    (indices,) = np.nonzero(~(values < threshold))  # NaN among them
    return indices[np.argsort(-values[indices], kind="stable")[:count]]


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-probabilities over the last axis, in float32."""
    highest = logits.max(axis=-1, keepdims=True)
    shifted = logits - np.where(np.isfinite(highest), highest, np.float32(0))
    with np.errstate(divide="ignore"):
        total = np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    log_probs: NDArray[np.float32] = shifted - np.where(np.isneginf(total), np.float32(0), total)
    return log_probs  # all -inf if the rules forbid every token
