"""What the trainer's attention looks at, computed from its projections (equation 1)."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tfm.trainer.model import MultiHeadAttention, Transformer


@contextlib.contextmanager
def recorded_projections(model: Transformer) -> Iterator[dict[nn.Module, Tensor]]:
    """By projection of every attention, what it gave out last."""
    outputs: dict[nn.Module, Tensor] = {}

    def record(module: nn.Module, _args: Any, output: Tensor) -> None:
        outputs[module] = output

    hooks = [
        projection.register_forward_hook(record)
        for module in model.modules()
        if isinstance(module, MultiHeadAttention)
        for projection in (module.q_proj, module.k_proj)
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def weights_of(
    attention: MultiHeadAttention, outputs: dict[nn.Module, Tensor], allowed: Tensor
) -> Tensor:
    """softmax(Q K^T / sqrt(d_k)) [B, H, queries, keys], where `allowed` [B, queries, keys] is
    true."""
    query, key = outputs[attention.q_proj], outputs[attention.k_proj]
    size = query.shape[-1] // attention.num_heads

    def heads(x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], attention.num_heads, size).transpose(1, 2)

    scores = heads(query) @ heads(key).transpose(2, 3) / math.sqrt(size)
    return scores.masked_fill(~allowed[:, None], -math.inf).softmax(dim=3)


@torch.no_grad()
def reference(
    model: Transformer, source: list[int], target: list[int]
) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
    """Of one pair: log-probabilities [T], and per layer the attention [H, queries, keys] of
    encoder, decoder and cross-attention."""
    source_ids = torch.tensor([source])
    read = torch.tensor([[model.config.bos_id, *target[:-1]]])
    with recorded_projections(model) as outputs:
        log_probs = model(source_ids, read)[0].log_softmax(dim=1)
    length = len(target)
    every = torch.ones(1, len(source), len(source), dtype=torch.bool)
    earlier = torch.ones(1, length, length, dtype=torch.bool).tril()
    across = torch.ones(1, length, len(source), dtype=torch.bool)
    encoder = [weights_of(x.self_attention, outputs, every)[0] for x in model.encoder_layers]
    decoder = [
        weights_of(x.self_attention, outputs, earlier)[0]
        for x in model.decoder_layers
        if not x.is_recurrent
    ]
    cross = [weights_of(x.cross_attention, outputs, across)[0] for x in model.decoder_layers]
    return log_probs.gather(1, torch.tensor(target)[:, None])[:, 0], encoder, decoder, cross
