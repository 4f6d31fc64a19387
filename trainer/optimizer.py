"""Adam and the learning rate (section 5.3)."""

import math
from typing import Any

import torch
from torch import nn

from .config import TrainingRecipe
from .muon import Muon, layer_matrices


def learning_rate(step: int, d_model: int, recipe: TrainingRecipe) -> float:
    """The rate at a step counted from 1: linear warm-up, then peak * sqrt(warmup / step).

    With warmup "none" the rate is the peak up to warmup_steps, and the same afterwards.

    With the default peak this is section 5.3's d_model^-0.5 min(step^-0.5, step warmup^-1.5); over
    the last cooldown_steps it is multiplied by a factor that falls from 1 to 0.
    """
    warmup = recipe.warmup_steps
    peak = recipe.learning_rate
    if peak is None:
        peak = 1 / math.sqrt(d_model * warmup)
    rise = step / warmup if recipe.warmup == "linear" else 1.0
    rate = peak * min(rise, math.sqrt(warmup / step))
    if recipe.cooldown_steps:
        rate *= min(1.0, max(0.0, (recipe.max_steps + 1 - step) / recipe.cooldown_steps))
    return rate


def build_optimizer(model: nn.Module, recipe: TrainingRecipe) -> torch.optim.AdamW:
    """Adam as in section 5.3; weight decay, if any, is decoupled (AdamW) and spares vectors.

    With `optimizer` "muon" the matrices of the layers take Muon's steps instead, computed in the
    recipe's precision.
    """
    matrices = layer_matrices(model) if recipe.optimizer == "muon" else []
    taken = {id(matrix) for matrix in matrices}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in taken]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    settings: dict[str, Any] = {"betas": recipe.adam_betas, "eps": recipe.adam_epsilon}
    if not matrices:
        return torch.optim.AdamW(groups, lr=0.0, fused=True, **settings)
    decay = recipe.weight_decay
    groups.append({"params": matrices, "weight_decay": decay, "orthogonal": True})
    dtype = torch.float32 if recipe.precision == "fp32" else torch.bfloat16
    return Muon(groups, lr=0.0, fused=True, dtype=dtype, **settings)
