"""Weights and activations in 8 or 4 bits, as numpy arrays.

Shapes: N outputs of a linear layer, K inputs.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Float = TypeVar("Float", np.float32, np.float64)

LEVELS = 255  # steps between the smallest and the largest byte
LARGEST_BLOCK = 32  # of int4; closer to float than 64 and 128, and no slower
SMALLEST_BLOCK = 16
ZERO_LEVEL = 8  # the 4 bits that stand for zero
# Which of -8 to 7 a block's largest weight may become; beyond -8 it is clipped.
LARGEST_AT = (-9.0, -8.5, -8.0, -7.5, -7.0, -6.5, 6.5, 7.0, 7.5)


@dataclass(frozen=True, slots=True)
class QuantParams:
    """How an activation becomes bytes: round(x / scale) + zero_point, clipped to 0..255."""

    scale: float
    zero_point: int


def fake_quantize(values: NDArray[Float], params: QuantParams) -> NDArray[Float]:
    """Quantize to bytes and back, in float: the same values with the rounding error."""
    steps = np.rint(values / params.scale)
    steps = np.clip(steps, -params.zero_point, LEVELS - params.zero_point)
    return np.asarray(steps * params.scale, values.dtype)


def quantize_rows(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round each row to 8 bits, w = value x scale, with a scale that is safe on every x86 CPU.

    CPUs without VNNI add two neighbouring 8-bit products in 16 bits, and saturate silently at
    32767. So two neighbours of one sign sum up to 128 at most: 255 x 128 still fits.

    Args:
        matrix: [N, K], one row per output

    Returns:
        values [N, K] and scales [N]
    """
    pairs = np.pad(matrix, ((0, 0), (0, matrix.shape[1] % 2))).reshape(len(matrix), -1, 2)
    largest = np.maximum(pairs.clip(min=0).sum(axis=2), -pairs.clip(max=0).sum(axis=2))
    scales = largest.max(axis=1) / np.float32(127)  # 128 where both neighbours are rounded up
    divisors = np.where(scales == 0, np.float32(1), scales)
    return np.rint(matrix / divisors[:, None]).astype(np.int8), scales.astype(np.float32)


def quantize_blocks(
    matrix: NDArray[np.float32], block: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Round each block of a row to 4 bits, w = (value - 8) x scale, with the least squared error.

    Args:
        matrix: [N, K], one row per output
        block: block size, a divisor of K

    Returns:
        values [N, K] of 0 to 15, and scales [N, K / block]
    """
    blocks = matrix.reshape(matrix.shape[0], -1, block)
    indices = np.abs(blocks).argmax(axis=2, keepdims=True)
    largest = np.take_along_axis(blocks, indices, axis=2)
    values, scales = np.zeros_like(blocks), np.zeros_like(largest)
    least = np.full_like(largest, np.inf)
    for level in LARGEST_AT:
        trial = np.where(largest == 0, np.float32(1), largest / np.float32(level))
        rounded = np.clip(np.rint(blocks / trial), -ZERO_LEVEL, ZERO_LEVEL - 1)
        norms = np.square(rounded).sum(axis=2, keepdims=True)
        fitted = (rounded * blocks).sum(axis=2, keepdims=True) / np.maximum(norms, 1)
        errors = np.square(rounded * fitted - blocks).sum(axis=2, keepdims=True)
        better = errors < least
        values, scales, least = (
            np.where(better, new, old)
            for new, old in ((rounded, values), (fitted, scales), (errors, least))
        )
    nibbles = (values + ZERO_LEVEL).astype(np.uint8).reshape(matrix.shape)
    return nibbles, scales.astype(np.float32)[:, :, 0]


def block_size(length: int) -> int | None:
    """The int4 block size for rows of this length; None if the row cannot be cut into blocks.

    It is the largest power of two that divides the length, at most LARGEST_BLOCK.
    """
    block = min(length & -length, LARGEST_BLOCK)
    return block if block >= SMALLEST_BLOCK else None
