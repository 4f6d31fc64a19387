"""Dropout that is fast on a CPU, and its random numbers (section 5.4)."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Module):
    """Zero each element with probability p while training, and scale the rest (section 5.4).

    On a CPU the generator is serial and torch's own dropout draws one number per element: a sixth
    of a training step. One byte per element is enough, which rounds p to a multiple of 1/256.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        dropped = round(self.p * 256)
        if not self.training or dropped == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        mask = words.view(torch.uint8)[: x.numel()].view(x.shape)
        # 1 from `dropped` on, else 0: a comparison and its bools would be far slower
        mask.clamp_(dropped - 1, dropped).sub_(dropped - 1)
        return x * mask.to(x.dtype).mul_(256 / (256 - dropped))


def seed_dropout(seed: int, step: int, index: int) -> None:
    """Seed the dropout of one batch of a step.

    It then depends on the seed, the step and the batch's index in the step alone: not on what ran
    before, nor on how many processes share the step.
    """
    state = np.random.SeedSequence((seed, step, index)).generate_state(1, np.uint64)
    torch.manual_seed(int(state[0]))
