"""The trainer's modules rearranged into graphs that decode fast on ONNX Runtime.

The results are the same. Query, key and value projections are packed into one linear layer,
1/sqrt(C) is multiplied into the query's weights, linear layers read a matrix with a token per row,
self-attention reads a cache, and the encoder computes the keys and values of cross-attention once
for all steps and all beams.

The cache belongs to sentences, not to beams. Every step appends K slots, one per beam, and the
ancestry mask says which slots each beam descends from. When beams are reordered, only the mask
changes and no keys or values move; beams with a common prefix store and read it once; and the
attention of K beams is one operator. Reordering a cache per beam costs 2 to 7 times as much
(4 beams, 32 sentences).

The encoder's linear layers read no padding: of a batch whose sentences differ in length, most may
be padding. Only attention sees the sentences side by side. One index operation each puts heads in
their places there and takes them back, where a transpose would have been needed in any case.

Shapes: B sentences, K beams, N = B x K rows, S source length, M source tokens of a batch without
padding, E slots of the cache, L new tokens, D d_model, H heads, C = D / H, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

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


@dataclass(frozen=True, slots=True)
class SourceTokens:
    """Where the tokens of a padded batch are, and where a batch's cells are among the tokens.

    Attributes:
        sentences: [M] which sentence each token belongs to
        columns: [M] and where it stands there
        numbers: [B, 1, S] which of the tokens each cell holds; at padding, any token
        length: S
    """

    sentences: Tensor
    columns: Tensor
    numbers: Tensor
    length: int

    @classmethod
    def of(cls, is_token: Tensor) -> "SourceTokens":
        """Find the tokens of a mask [B, S], False where there is padding."""
        places = torch.nonzero(is_token)
        numbers = (is_token.flatten().to(torch.int64).cumsum(0) - 1).clamp(min=0)
        by_sentence = numbers.view(is_token.shape[0], 1, is_token.shape[1])
        return cls(places[:, 0], places[:, 1], by_sentence, is_token.shape[1])

    def take(self, by_cell: Tensor) -> Tensor:
        """The tokens' values [M] out of [B, S]."""
        return by_cell.flatten().index_select(0, self.sentences * self.length + self.columns)

    def head_rows(self, part: int, parts: int, num_heads: int) -> Tensor:
        """Rows [B, H, S] of every head in a matrix [M x parts x H, C]."""
        return (self.numbers * parts + part) * num_heads + torch.arange(num_heads)[:, None]

    def head_rows_by_token(self, num_heads: int) -> Tensor:
        """Rows [M, H] of every token's heads in a matrix [B x H x S, C]."""
        heads = self.sentences[:, None] * num_heads + torch.arange(num_heads)
        return heads * self.length + self.columns[:, None]


@dataclass(frozen=True, slots=True)
class HeadRows:
    """The index of every encoder layer: query, key and value [B, H, S] each, result [M, H]."""

    query_key_value: tuple[Tensor, Tensor, Tensor]
    attended: Tensor


class PackedEncoderLayer(nn.Module):
    """An encoder layer with its three attention projections in one linear layer."""

    def __init__(self, layer: EncoderLayer) -> None:
        super().__init__()
        attention = layer.self_attention
        self.layer = layer
        self.num_heads = attention.num_heads
        self.query_key_value = pack(scaled_query(attention), attention.k_proj, attention.v_proj)

    def forward(self, x: Tensor, source_bias: Tensor, rows: HeadRows) -> Tensor:
        """[M, D] to [M, D]; source_bias [B, 1, S, S]."""
        layer = self.layer
        packed = self.query_key_value(layer.self_attention_residual.before(x))
        heads = packed.reshape(-1, packed.shape[1] // (3 * self.num_heads))  # [M x 3 x H, C]
        q, k, v = (F.embedding(part, heads) for part in rows.query_key_value)  # [B, H, S, C]
        attended, *_ = attention(q, k, v, source_bias, scale=1.0)
        by_token = F.embedding(rows.attended, attended.reshape(-1, heads.shape[1]))  # [M, H, C]
        y = layer.self_attention.out_proj(by_token.reshape(-1, self.num_heads * heads.shape[1]))
        x = layer.self_attention_residual.after(x, y)
        y = layer.feed_forward(layer.feed_forward_residual.before(x))
        return layer.feed_forward_residual.after(x, y)


def attend_packed(
    packed: Tensor,
    bias: Tensor | None,
    num_heads: int,
    shape: tuple[int, int],
    past: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Self-attention by the operator Attention of ONNX, which also appends to the cache.

    Args:
        packed: [B * L, 3 D], queries (already divided by sqrt(C)), keys and values of L tokens
        bias: [B, 1, L, E + L]; None lets every token see every slot
        shape: B and L
        past: keys and values [B, H, E, C]

    Returns:
        [B * L, D], and keys and values [B, H, E + L, C]
    """
    width = packed.shape[1] // 3
    q, k, v = packed.view(*shape, 3 * width).chunk(3, dim=2)
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
    if q.shape[2] == 1:  # nothing to transpose
        return attended.view(-1, q.shape[1] * q.shape[3])
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
        model, heads = self.model, self.num_heads
        is_token = source_ids != model.config.pad_id
        tokens = SourceTokens.of(is_token)
        embeddings = model.source_embeddings
        x = embeddings.tokens(tokens.take(source_ids)) * embeddings.scale  # [M, D]
        x = x + embeddings.positions(source_ids).index_select(0, tokens.columns)

        source_bias = attention_bias(is_token)[:, None, None, :]
        # ONNX Runtime's Attention wants a row of the bias for every query.
        by_query = source_bias.expand(-1, -1, source_ids.shape[1], -1)
        query, key, value = (tokens.head_rows(part, 3, heads) for part in range(3))
        rows = HeadRows((query, key, value), tokens.head_rows_by_token(heads))
        for layer in self.layers:
            x = layer(x, by_query, rows)

        packed = self.cross(model.encoder_norm(x))
        parts = 2 * len(model.decoder)
        by_head = packed.reshape(-1, packed.shape[1] // (parts * heads))  # [M x parts x H, C]
        memory = (F.embedding(tokens.head_rows(p, parts, heads), by_head) for p in range(parts))
        return (*memory, source_bias)


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
        ancestry: Tensor | None,
        cross: tuple[Tensor, Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Advance by one token.

        Args:
            x: [N, D]
            past: keys and values [B, H, E, C]
            ancestry: mask [B, 1, K, E + K], 0 where a beam descends from a slot and -inf
                elsewhere; None where K is 1
            cross: keys and values [B, H, S, C], source_bias [B, 1, K, S]

        Returns:
            [N, D], and present keys and values [B, H, E + K, C]
        """
        layer, source_bias = self.layer, cross[2]
        # Sizes come from what no step changes: they are then computed before the first one.
        shape = (source_bias.shape[0], source_bias.shape[2])
        packed = self.query_key_value(layer.self_attention_residual.before(x))
        attended, key, value = attend_packed(packed, ancestry, self.num_heads, shape, past)
        y = layer.self_attention.out_proj(attended)
        x = layer.self_attention_residual.after(x, y)
        return after_autoregression(layer, self.cross_query, x, cross), key, value


def after_autoregression(
    layer: DecoderLayer, cross_query: nn.Linear, x: Tensor, cross: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """Cross-attention and feed-forward, the sub-layers that follow self-attention or SSRU.

    Args:
        cross_query: the query projection of cross-attention, divided by sqrt(C)
        x: [N, D]
        cross: keys and values [B, H, S, C], source_bias [B, 1, K, S]

    Returns:
        [N, D]
    """
    key, _, source_bias = cross
    # The beams of a sentence are its queries: its keys and values need no copy per beam.
    y = cross_query(layer.cross_attention_residual.before(x))
    batch, beams, (_, num_heads, _, size) = source_bias.shape[0], source_bias.shape[2], key.shape
    if beams == 1:
        q = y.view(batch, num_heads, size).unsqueeze(2)
    else:
        q = y.view(batch, beams, num_heads, size).transpose(1, 2)
    y = layer.cross_attention.out_proj(attend(q, *cross))
    x = layer.cross_attention_residual.after(x, y)
    y = layer.feed_forward(layer.feed_forward_residual.before(x))
    return layer.feed_forward_residual.after(x, y)


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
        return self.advance(target_ids, position_encoding, ancestry, past, cross, source_bias)

    def advance(
        self,
        target_ids: Tensor,
        position_encoding: Tensor,
        ancestry: Tensor | None,
        past: list[tuple[Tensor, Tensor]],
        cross: list[tuple[Tensor, Tensor]],
        source_bias: Tensor,
    ) -> tuple[Tensor, ...]:
        """`forward`; ancestry may be None where K is 1."""
        layers = [
            partial(layer, past=cache, ancestry=ancestry, cross=(*keys_values, source_bias))
            for layer, cache, keys_values in zip(self.layers, past, cross, strict=True)
        ]
        return step(self.model, self.output_bias, target_ids, position_encoding, layers)


def step(
    model: Transformer,
    output_bias: Tensor | None,
    target_ids: Tensor,
    position_encoding: Tensor,
    layers: Sequence[Callable[[Tensor], tuple[Tensor, ...]]],
) -> tuple[Tensor, ...]:
    """From the newest tokens to the logits of the next, whatever the layers remember.

    Args:
        layers: each takes x [N, D] and returns it anew, with what it remembers

    Returns:
        logits [N, V], and all that the layers remember
    """
    embeddings = model.target_embeddings
    x = embeddings.tokens(target_ids.flatten()) * embeddings.scale  # [N, D]
    x = x + position_encoding
    presents: list[Tensor] = []
    for layer in layers:
        x, *remembered = layer(x)
        presents += remembered
    return (F.linear(model.decoder_norm(x), model.projection.weight, output_bias), *presents)


class GreedyDecoderGraph(DecoderGraph):
    """One step of greedy decoding: K is 1, and every slot of the cache is an ancestor."""

    def forward(  # type: ignore[override]
        self,
        target_ids: Tensor,
        position_encoding: Tensor,
        past: list[tuple[Tensor, Tensor]],
        cross: list[tuple[Tensor, Tensor]],
        source_bias: Tensor,
    ) -> tuple[Tensor, ...]:
        """`DecoderGraph.forward` without a mask; target_ids [B, 1], source_bias [B, 1, 1, S]."""
        return self.advance(target_ids, position_encoding, None, past, cross, source_bias)


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
