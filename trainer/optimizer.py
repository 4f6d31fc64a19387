"""What drives the weights: the label-smoothed loss, Adam, and the learning rate (section 5)."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .config import TrainingRecipe

LOSS_CHUNK = 256  # rows whose [rows, V] float logits stay in a CPU's cache


class _ProjectedCrossEntropy(torch.autograd.Function):
    """Projection and loss in one pass over chunks of rows, gradients computed on the way.

    The [M, V] logits are the largest tensors of a training step; going over them once, a
    cache-sized chunk at a time and in the same memory every time, is what makes it cheap on a CPU.

    With p = softmax(logits), lse their log-sum-exp, s the smoothing and y the label, a row's loss
    is lse - (1 - s) logit_y - s/V sum(logits), its gradient by the logits p - (1 - s) [y] - s/V.
    What is linear in the logits is summed without them, by the sum of the projection's rows.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        smoothing: float,
        wanted: bool,
    ) -> Tensor:
        device = hidden.device.type
        dtype = (
            torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        )
        vocab_size = weight.shape[0]
        even = smoothing / vocab_size
        chunk = min(LOSS_CHUNK if device == "cpu" else 32 * LOSS_CHUNK, len(hidden))
        rows, projection = hidden.to(dtype), weight.to(dtype)
        added = None if bias is None else bias.to(dtype)
        logits = rows.new_empty(chunk, vocab_size)
        probs = torch.empty_like(logits, dtype=torch.float32)
        hidden_grad, weight_grad = torch.empty_like(rows), torch.zeros_like(weight)
        bias_grad = weight.new_zeros(vocab_size)
        weight_part = torch.empty_like(projection)
        total = hidden.new_zeros((), dtype=torch.float32)
        with torch.autocast(device, enabled=False):
            for first in range(0, len(rows), chunk):
                some = rows[first : first + chunk]
                targets = labels[first : first + chunk].unsqueeze(1)
                z, p = logits[: len(some)], probs[: len(some)]
                torch.mm(some, projection.t(), out=z)
                if added is not None:
                    z += added
                torch.softmax(z, 1, torch.float32, out=p)
                # By the most probable token: the label's own probability may underflow.
                lse = z.amax(1).float() - p.amax(1).log()
                total += (lse - (1 - smoothing) * z.gather(1, targets).squeeze(1).float()).sum()
                if wanted:
                    p.scatter_add_(1, targets, p.new_full(targets.shape, smoothing - 1))
                    if bias is not None:
                        bias_grad += p.sum(dim=0)
                    z.copy_(p)
                    torch.mm(z, projection, out=hidden_grad[first : first + chunk])
                    torch.mm(z.t(), some, out=weight_part)
                    weight_grad += weight_part
            if smoothing:
                weight_sum, row_sum = weight.sum(dim=0).float(), hidden.float().sum(dim=0)
                total -= even * row_sum @ weight_sum
                if bias is not None:
                    total -= even * len(rows) * bias.float().sum()
                if wanted:
                    hidden_grad = hidden_grad.float() - even * weight_sum
                    weight_grad -= even * row_sum
                    bias_grad -= even * len(rows)
        if wanted:
            ctx.save_for_backward(hidden_grad.to(hidden.dtype), weight_grad, bias_grad)
            ctx.has_bias = bias is not None
        return total

    @staticmethod
    def backward(
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, None, None, None]:
        hidden_grad, weight_grad, bias_grad = ctx.saved_tensors
        return (
            hidden_grad * grads[0].to(hidden_grad.dtype),
            weight_grad * grads[0],
            bias_grad * grads[0] if ctx.has_bias else None,
            None,
            None,
            None,
        )


def projected_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, smoothing: float
) -> Tensor:
    """Label-smoothed cross-entropy of hidden @ weight.T + bias (section 5.4), summed over rows.

    The target puts 1 - smoothing on the label and spreads smoothing evenly over the vocabulary.

    Args:
        hidden: [M, D] decoder outputs, one row per label; at least one row
        weight: [V, D] the output projection
        bias: [V], or None
        labels: [M] int64
        smoothing: 0 to below 1

    Returns:
        scalar, nats
    """
    wanted = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    return _ProjectedCrossEntropy.apply(hidden, weight, bias, labels, smoothing, wanted)  # type: ignore[no-any-return, no-untyped-call]


def learning_rate(step: int, d_model: int, recipe: TrainingRecipe) -> float:
    """The rate at a step counted from 1: linear warm-up, then peak * sqrt(warmup / step).

    Without warm-up the peak stands in the line's place, and what follows is the same.

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


def seed_noise(seed: int, step: int, place: int) -> None:
    """Let the dropout of a step's batch depend on nothing but the seed, the step and the batch's
    place in it: not on what ran before, nor on how many processes share the step."""
    state = np.random.SeedSequence((seed, step, place)).generate_state(1, np.uint64)
    torch.manual_seed(int(state[0]))


def build_optimizer(model: nn.Module, recipe: TrainingRecipe) -> torch.optim.Adam:
    """Adam as in section 5.3; weight decay, if any, is decoupled (AdamW) and spares vectors."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups, lr=0.0, betas=recipe.adam_betas, eps=recipe.adam_epsilon, fused=True
    )
