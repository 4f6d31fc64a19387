"""Where a token stands in its sentence, as sines and cosines (section 3.5)."""

import math

import torch
from torch import Tensor, nn

from .config import TransformerConfig


def sinusoidal_positions(positions: Tensor, config: TransformerConfig) -> Tensor:
    """Encode positions as sines and cosines of geometric wavelengths (section 3.5).

    PE(pos, 2i) = sin(pos / 10000^(2i/D)), PE(pos, 2i+1) = cos(pos / 10000^(2i/D)).
    Computed, not looked up, so that no sentence is too long and no table is stored.

    That is config.positions "paper". "marian" has all the sines before all the cosines, and so has
    "fairseq", whose wavelengths reach 10000 with the last one: 10000^(i/(D/2-1)).

    Args:
        positions: [L] float, counted from 0; the first one stands for config.first_position

    Returns:
        [L, D] float
    """
    frequencies = position_frequencies(config).to(positions)
    angles = (positions + config.first_position).unsqueeze(1) * frequencies  # [L, D/2]
    if config.positions == "paper":
        return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)  # sin, cos, sin, cos...
    return torch.cat((angles.sin(), angles.cos()), dim=1)


def position_frequencies(config: TransformerConfig) -> Tensor:
    """The D / 2 frequencies of `sinusoidal_positions`, [D/2] in double precision."""
    half = config.d_model // 2
    last = half - 1 if config.positions == "fairseq" else half
    steps = torch.arange(half, dtype=torch.float64) / last
    return torch.exp(steps * -math.log(10000.0))


class Positions(nn.Module):
    """`sinusoidal_positions` of whole sentences."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, ids: Tensor) -> Tensor:
        """What to add to the embeddings of ids [B, L]; returns [L, D]."""
        positions = torch.arange(ids.shape[1], device=ids.device, dtype=torch.float32)
        return sinusoidal_positions(positions, self.config)
