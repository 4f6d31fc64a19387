"""The trainer's modules rearranged into the two graphs that decode fast on ONNX Runtime.

The results are the same. Query, key and value projections are packed into one linear layer,
1/sqrt(C) is multiplied into the query's weights, linear layers read a matrix with a token per row,
self-attention reads a cache, and the encoder computes the keys and values of cross-attention once
for all steps and all beams.

The cache belongs to sentences, not to beams. Every step appends K slots, one per beam, and the
ancestry mask says which slots each beam descends from. When beams are reordered, only the mask
changes and no keys or values move; beams with a common prefix store and read it once; and the
attention of K beams is one operator. Reordering a cache per beam costs 2 to 7 times as much
(4 beams, 32 sentences).

Shapes: B sentences, K beams, N = B x K rows, S source length, E slots of the cache, L new tokens,
D d_model, H heads, C = D / H, V vocabulary.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.onnx.ops import attention

from tfm.trainer.model import (
    DecoderLayer,
    EncoderLayer,
    MultiHeadAttention,
    Transformer,
    attention_bias,
)


def pack(*projections: nn.Linear) -> nn.Linear:
    """One linear layer whose output is the projections' outputs side by side."""
    biases: list[Tensor] = [
        p.weight.new_zeros(p.out_features) if p.bias is None else p.bias for p in projections
    ]
    packed = nn.Linear(projections[0].in_features, sum(p.out_features for p in projections))
    packed.weight = nn.Parameter(torch.cat([p.weight for p in projections]))
    packed.bias = nn.Parameter(torch.cat(biases))
    return packed


def scaled_query(attention: MultiHeadAttention) -> nn.Linear:
    """The query projection divided by sqrt(C) (paper, equation 1)."""
    scale = (attention.q_proj.out_features // attention.num_heads) ** -0.5
    scaled = nn.Linear(attention.q_proj.in_features, attention.q_proj.out_features)
    scaled.weight = nn.Parameter(attention.q_proj.weight * scale)
    scaled.bias = nn.Parameter(attention.q_proj.bias * scale)
    return scaled


class PackedEncoderLayer(nn.Module):
    """An encoder layer with its three attention projections in one linear layer."""

    def __init__(self, layer: EncoderLayer) -> None:
        super().__init__()
        attention = layer.self_attention
        self.layer = layer
        self.num_heads = attention.num_heads
        self.query_key_value = pack(scaled_query(attention), attention.k_proj, attention.v_proj)

    def forward(self, x: Tensor, source_bias: Tensor) -> Tensor:
        """[B * S, D] to [B * S, D]; source_bias [B, 1, S, S]."""
        layer = self.layer
        packed = self.query_key_value(layer.self_attention_residual.before(x))
        length = source_bias.shape[3]
        attended, _, _ = attend_packed(packed, source_bias, self.num_heads, length)
        y = layer.self_attention.out_proj(attended)
        x = layer.self_attention_residual.after(x, y)
        y = layer.feed_forward(layer.feed_forward_residual.before(x))
        return layer.feed_forward_residual.after(x, y)


def attend_packed(
    packed: Tensor,
    bias: Tensor,
    num_heads: int,
    length: int,
    past: tuple[Tensor, Tensor] | tuple[None, None] = (None, None),
) -> tuple[Tensor, Tensor, Tensor]:
    """Self-attention by the operator Attention of ONNX, which also appends to the cache.

    Args:
        packed: [B * L, 3 D], queries (already divided by sqrt(C)), keys and values of L tokens
        bias: [B, 1, L, E + L]
        length: L
        past: keys and values [B, H, E, C], or None for both

    Returns:
        [B * L, D], and keys and values [B, H, E + L, C]
    """
    width = packed.shape[1] // 3
    q, k, v = packed.view(bias.shape[0], length, 3 * width).chunk(3, dim=2)
    attended, key, value, _ = attention(
        q, k, v, bias, *past, q_num_heads=num_heads, kv_num_heads=num_heads, scale=1.0
    )
    return attended.view(-1, width), key, value


def attend(q: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attention of queries to keys and values that the encoder computed.

    Args:
        q: [B, H, L, C], already divided by sqrt(C)
        key: [B, H, S, C]
        value: [B, H, S, C]
        bias: [B, 1, L, S]

    Returns:
        [B * L, D]
    """
    attended, *_ = attention(q, key, value, bias, scale=1.0)
    return attended.transpose(1, 2).flatten(2).flatten(0, 1)


class EncoderGraph(nn.Module):
    """From source_ids to the keys and values that the decoder's cross-attention reads."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model
        self.num_heads = model.config.num_heads
        self.layers = nn.ModuleList(PackedEncoderLayer(layer) for layer in model.encoder_layers)
        attentions = [layer.cross_attention for layer in model.decoder_layers]
        self.cross = pack(*(p for a in attentions for p in (a.k_proj, a.v_proj)))

    def forward(self, source_ids: Tensor) -> tuple[Tensor, ...]:
        """Encode a padded batch.

        Args:
            source_ids: [B, S] int64

        Returns:
            for every decoder layer cross_key and cross_value [B, H, S, C], then source_bias
            [B, 1, 1, S]
        """
        model = self.model
        source_bias = attention_bias(source_ids != model.config.pad_id)[:, None, None, :]
        x = model.source_embeddings(source_ids).flatten(0, 1)  # [B * S, D]
        # ONNX Runtime's Attention wants a row of the bias for every query.
        by_query = source_bias.expand(-1, -1, source_ids.shape[1], -1)
        for layer in self.layers:
            x = layer(x, by_query)
        packed = self.cross(model.encoder_norm(x))
        parts = 2 * len(model.decoder)
        size = packed.shape[1] // (parts * self.num_heads)
        by_part = packed.view(*source_ids.shape, parts, self.num_heads, size)
        by_part = by_part.permute(2, 0, 3, 1, 4)  # [2 per layer, B, H, S, C]
        return (*(by_part[part] for part in range(parts)), source_bias)


class CachedDecoderLayer(nn.Module):
    """A decoder layer over one new token per row."""

    def __init__(self, layer: DecoderLayer) -> None:
        super().__init__()
        attention = layer.self_attention
        self.layer = layer
        self.num_heads = attention.num_heads
        self.query_key_value = pack(scaled_query(attention), attention.k_proj, attention.v_proj)
        self.cross_query = scaled_query(layer.cross_attention)

    def forward(
        self,
        x: Tensor,
        past: tuple[Tensor, Tensor],
        ancestry: Tensor,
        cross: tuple[Tensor, Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Advance by one token.

        Args:
            x: [N, D]
            past: keys and values [B, H, E, C]
            ancestry: mask [B, 1, K, E + K], 0 where a beam descends from a slot and -inf elsewhere
            cross: keys and values [B, H, S, C], source_bias [B, 1, K, S]

        Returns:
            [N, D], and present keys and values [B, H, E + K, C]
        """
        layer, beams = self.layer, ancestry.shape[2]
        packed = self.query_key_value(layer.self_attention_residual.before(x))
        attended, key, value = attend_packed(packed, ancestry, self.num_heads, beams, past)
        y = layer.self_attention.out_proj(attended)
        x = layer.self_attention_residual.after(x, y)

        # The beams of a sentence are its queries: its keys and values need no copy per beam.
        y = self.cross_query(layer.cross_attention_residual.before(x))
        q = y.view(ancestry.shape[0], beams, self.num_heads, cross[0].shape[3]).transpose(1, 2)
        y = layer.cross_attention.out_proj(attend(q, *cross))
        x = layer.cross_attention_residual.after(x, y)

        y = layer.feed_forward(layer.feed_forward_residual.before(x))
        return layer.feed_forward_residual.after(x, y), key, value


class DecoderGraph(nn.Module):
    """One step of decoding, up to the logits; step.py adds what chooses the candidates."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model
        self.layers = nn.ModuleList(CachedDecoderLayer(layer) for layer in model.decoder_layers)
        self.output_bias = output_bias(model)

    def forward(
        self,
        target_ids: Tensor,
        position_encoding: Tensor,
        ancestry: Tensor,
        past: list[tuple[Tensor, Tensor]],
        cross: list[tuple[Tensor, Tensor]],
        source_bias: Tensor,
    ) -> tuple[Tensor, ...]:
        """Advance by one token.

        Args:
            target_ids: [B, K] int64, the last token of every hypothesis
            position_encoding: [1, D], of this step
            ancestry: mask [B, 1, K, E + K], 0 where a beam descends from a slot of the cache and
                -inf elsewhere; the last K slots are those that this step adds, one per beam
            past: per layer keys and values [B, H, E, C]
            cross: per layer keys and values [B, H, S, C]
            source_bias: [B, 1, K, S], the same for all beams

        Returns:
            logits [N, V]; then per layer present keys and values [B, H, E + K, C]
        """
        model = self.model
        embeddings = model.target_embeddings
        x = embeddings.tokens(target_ids.flatten()) * embeddings.scale  # [N, D]
        x = x + position_encoding
        presents: list[Tensor] = []
        for layer, cache, (cross_key, cross_value) in zip(self.layers, past, cross, strict=True):
            x, key, value = layer(x, cache, ancestry, (cross_key, cross_value, source_bias))
            presents += [key, value]
        hidden = model.decoder_norm(x)
        return (F.linear(hidden, model.projection.weight, self.output_bias), *presents)


def output_bias(model: Transformer) -> nn.Parameter | None:
    """The output layer's bias [V], with -inf for tokens that the model must never write.

    None if the model has neither a bias nor such tokens.
    """
    forbidden, bias = list(model.config.suppress_ids), model.projection.bias
    if bias is None and not forbidden:
        return None
    total = model.projection.weight.new_zeros(model.config.target_vocab_size)
    if bias is not None:
        total += bias.detach()
    total[forbidden] = float("-inf")
    return nn.Parameter(total, requires_grad=False)
