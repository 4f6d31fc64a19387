"""The label-smoothed loss of a batch (section 5.4)."""

from typing import Any

import torch
from torch import Tensor

from .model import Transformer

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
                chunk_rows = rows[first : first + chunk]
                targets = labels[first : first + chunk].unsqueeze(1)
                z, p = logits[: len(chunk_rows)], probs[: len(chunk_rows)]
                torch.mm(chunk_rows, projection.t(), out=z)
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
                    torch.mm(z.t(), chunk_rows, out=weight_part)
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


def batch_loss(
    model: Transformer, source_ids: Tensor, target_ids: Tensor, smoothing: float
) -> tuple[Tensor, int]:
    """Summed loss of a batch, in nats, and the number of target tokens it is over.

    Give the ids on the CPU: what depends on their values is then computed there, and the CPU
    never waits for the device.

    Args:
        source_ids: [B, S]
        target_ids: [B, T + 1], from BOS to EOS, then padding
    """
    device = model.projection.weight.device
    labels = target_ids[:, 1:].flatten()
    real = (labels != model.config.pad_id).nonzero().squeeze(1)  # [M] indices into B * T
    labels = labels[real].to(device, non_blocking=True)
    memory, source_bias = model.encode(source_ids.to(device, non_blocking=True))
    inputs = target_ids[:, :-1].to(device, non_blocking=True)
    hidden = model.decode(inputs, memory, source_bias).flatten(0, 1)
    hidden = hidden.index_select(0, real.to(device, non_blocking=True))
    weight, bias = model.projection.weight, model.projection.bias
    return projected_cross_entropy(hidden, weight, bias, labels, smoothing), len(labels)
