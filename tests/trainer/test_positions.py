"""The sinusoidal positions of the paper."""

import math

import numpy as np
import torch

from tfm.trainer.config import TransformerConfig
from tfm.trainer.positions import sinusoidal_positions


def test_positions_are_those_of_the_paper() -> None:
    d_model, positions = 10, [0, 1, 2, 57, 511]
    config = TransformerConfig(
        source_vocab_size=11, target_vocab_size=13, d_model=d_model, num_heads=1
    )
    expected = np.empty((len(positions), d_model))
    for row, position in enumerate(positions):
        for i in range(d_model // 2):
            angle = position / 10000 ** (2 * i / d_model)
            expected[row, 2 * i : 2 * i + 2] = math.sin(angle), math.cos(angle)
    exact = sinusoidal_positions(torch.tensor(positions, dtype=torch.float64), config)
    np.testing.assert_allclose(exact.numpy(), expected, atol=1e-12)
    single = sinusoidal_positions(torch.tensor(positions, dtype=torch.float32), config)
    np.testing.assert_allclose(single.numpy(), expected, atol=1e-4)
