"""The trainer's modules rearranged into the two graphs that decode fast on ONNX Runtime.

Nothing is computed differently, only at another time or place: query, key and value projections
are packed into one product, 1/sqrt(C) is folded into the query's weights, weight products see one
token per row, self-attention reads a cache, cross-attention keys and values come ready from the
encoder graph and serve all beams of a sentence at once, and the step ends with the 2K best
candidates instead of V logits per beam.

The cache belongs to sentences, not to beams. Every step appends K entries to it, one per beam, and
`history` says which entries each beam descends from. Beams that change places so move no keys or
values, beams with a common past store and read it once, and the attention of K beams is one
product. Reordering a cache per beam costs 2 to 7 times as much (4 beams, 32 sentences).

Shapes: B sentences, K beams, N = B x K rows, S source length, E entries of the cache, D d_model,
H heads, C = D / H, V vocabulary.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfm.trainer.model import (
    DecoderLayer,
    EncoderLayer,
    MultiHeadAttention,
    Transformer,
    attention_bias,
)

BLOCK = 64  # candidates are searched block by block: the best of each, then the best blocks


def pack(*projections: nn.Linear) -> nn.Linear:
    """One linear map whose output is the concatenation of the projections' outputs."""
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
    """An encoder layer with its three attention projections in one product."""

    def __init__(self, layer: EncoderLayer) -> None:
        super().__init__()
        attention = layer.self_attention
        self.layer = layer
        self.num_heads = attention.num_heads
        self.query_key_value = pack(scaled_query(attention), attention.k_proj, attention.v_proj)

    def forward(self, x: Tensor, source_bias: Tensor) -> Tensor:
        """[B * S, D] to [B * S, D]; source_bias [B, 1, 1, S]."""
        layer = self.layer
        sizes = (source_bias.shape[0], source_bias.shape[3])
        packed = self.query_key_value(layer.self_attention_residual.before(x))
        q, k, v = split_heads(packed, sizes, 3, self.num_heads)  # [B, H, S, C]
        attended = (q @ k.transpose(2, 3) + source_bias).softmax(dim=3) @ v
        y = layer.self_attention.out_proj(join_heads(attended))
        x = layer.self_attention_residual.after(x, y)
        y = layer.feed_forward(layer.feed_forward_residual.before(x))
        return layer.feed_forward_residual.after(x, y)


def split_heads(
    packed: Tensor, sizes: tuple[int, int], parts: int, num_heads: int
) -> tuple[Tensor, ...]:
    """[B * L, parts * D] and (B, L) to `parts` tensors [B, H, L, C]."""
    size = packed.shape[1] // (parts * num_heads)
    cut = packed.view(*sizes, parts, num_heads, size).permute(2, 0, 3, 1, 4)
    return tuple(cut[part] for part in range(parts))


def join_heads(attended: Tensor) -> Tensor:
    """[B, H, L, C] to [B * L, D]."""
    return attended.transpose(1, 2).flatten(2).flatten(0, 1)


class EncoderGraph(nn.Module):
    """source_ids to the keys and values that the decoder's cross-attention will read."""

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
            for every decoder layer cross_key [B, H, C, S] and cross_value [B, H, S, C], then
            source_bias [B, 1, 1, S]
        """
        model = self.model
        source_bias = attention_bias(source_ids != model.config.pad_id)[:, None, None, :]
        x = model.source_embeddings(source_ids).flatten(0, 1)  # [B * S, D]
        for layer in self.layers:
            x = layer(x, source_bias)
        packed = self.cross(model.encoder_norm(x))
        sizes = (source_ids.shape[0], source_ids.shape[1])
        crossed = split_heads(packed, sizes, 2 * len(model.decoder), self.num_heads)
        outputs = [
            one.transpose(2, 3) if index % 2 == 0 else one for index, one in enumerate(crossed)
        ]
        return (*outputs, source_bias)


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
        history: Tensor,
        cross: tuple[Tensor, Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Advance by one token.

        Args:
            x: [N, D]
            past: keys and values [B, H, E, C]
            history: [B, K, E + K], 0 where a beam descends from an entry and -inf elsewhere
            cross: keys [B, H, C, S], values [B, H, S, C], source_bias [B, 1, 1, S]

        Returns:
            [N, D], and present keys and values [B, H, E + K, C]
        """
        layer, sizes = self.layer, (history.shape[0], history.shape[1])
        packed = self.query_key_value(layer.self_attention_residual.before(x))
        q, new_key, new_value = split_heads(packed, sizes, 3, self.num_heads)  # [B, H, K, C]
        key, value = torch.cat((past[0], new_key), 2), torch.cat((past[1], new_value), 2)
        attended = (q @ key.transpose(2, 3) + history.unsqueeze(1)).softmax(dim=3) @ value
        y = layer.self_attention.out_proj(join_heads(attended))
        x = layer.self_attention_residual.after(x, y)

        # The beams of a sentence are its queries: its keys and values need no copy per beam.
        y = self.cross_query(layer.cross_attention_residual.before(x))
        q = y.view(*sizes, self.num_heads, cross[0].shape[2]).transpose(1, 2)  # [B, H, K, C]
        attended = (q @ cross[0] + cross[2]).softmax(dim=3) @ cross[1]
        y = layer.cross_attention.out_proj(join_heads(attended))
        x = layer.cross_attention_residual.after(x, y)

        y = layer.feed_forward(layer.feed_forward_residual.before(x))
        return layer.feed_forward_residual.after(x, y), key, value


def best_candidates(
    log_probs: Tensor, scores: Tensor, vocab_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The 2K best sums of a beam's score and a token's log-probability, best first; ties go to
    the lower beam, then to the lower token.

    Two stages, because passing over K x V numbers is slow, and sorting them slower: any of the 2K
    best lies in one of the 2K blocks with the best maxima, and only their numbers are summed up.

    Args:
        log_probs: [B, K, W]; W is a multiple of BLOCK, and -inf from vocab_size on
        scores: [B, K]

    Returns:
        sums, tokens and beams, [B, 2K] each
    """
    count, width = 2 * scores.shape[1], log_probs.shape[2]
    if width == BLOCK:  # no more blocks than beams
        totals = (log_probs + scores.unsqueeze(2)).flatten(1)
        values, best = totals.topk(count, dim=1)
        beams, tokens = divide(best, BLOCK)
    else:
        blocks = torch.unflatten(log_probs, 2, (-1, BLOCK))  # [B, K, W / BLOCK, BLOCK]
        maxima = blocks.amax(dim=3) + scores.unsqueeze(2)
        chosen = maxima.flatten(1).topk(count, dim=1).indices  # [B, 2K]
        chosen = chosen.sort(dim=1).values  # in order, so that ties still go to the lower index
        beam_of, block_of = divide(chosen, width // BLOCK)
        rows = chosen.unsqueeze(2).expand(-1, -1, BLOCK)
        inside = blocks.flatten(1, 2).gather(1, rows) + scores.gather(1, beam_of).unsqueeze(2)
        values, best = inside.flatten(1).topk(count, dim=1)
        rank, offset = divide(best, BLOCK)
        beams = beam_of.gather(1, rank)
        tokens = block_of.gather(1, rank) * BLOCK + offset
    # A candidate of score -inf may lie in the padding: it has to name a token all the same.
    return values, tokens.clamp(max=vocab_size - 1), beams


def divide(dividend: Tensor, divisor: int) -> tuple[Tensor, Tensor]:
    """Quotient and remainder of integers that are not negative; floor division, which has to
    think of signs, becomes eight nodes of ONNX."""
    quotient = torch.div(dividend, divisor, rounding_mode="trunc")
    return quotient, dividend - quotient * divisor


def position_encoding(position: Tensor, d_model: int) -> Tensor:
    """trainer.model.sinusoidal_positions of one position, in three nodes instead of nine.

    Args:
        position: [1] int64

    Returns:
        [1, D]: sin(p f), cos(p f) = sin(p f + pi / 2), ... for the D / 2 frequencies f
    """
    even = torch.arange(0, d_model, 2, dtype=torch.float32)
    frequencies = torch.exp(even * (-math.log(10000.0) / d_model)).repeat_interleave(2)
    phases = torch.tensor([0.0, math.pi / 2]).repeat(d_model // 2)
    return (position.to(torch.float32) * frequencies + phases).sin().unsqueeze(0)


class DecoderGraph(nn.Module):
    """One step of decoding: advance every beam by a token, pick the candidates for the next."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model
        self.layers = nn.ModuleList(CachedDecoderLayer(layer) for layer in model.decoder_layers)

    def forward(
        self,
        target_ids: Tensor,
        scores: Tensor,
        position: Tensor,
        history: Tensor,
        past: list[tuple[Tensor, Tensor]],
        cross: list[tuple[Tensor, Tensor]],
        source_bias: Tensor,
    ) -> tuple[Tensor, ...]:
        """Advance by one token.

        Args:
            target_ids: [B, K] int64, the last token of every hypothesis
            scores: [B, K] summed log-probabilities of the hypotheses
            position: [1] int64, how many steps came before
            history: [B, K, E + K], 0 where a beam descends from an entry of the cache and -inf
                elsewhere; the last K entries are the ones that this step adds, one per beam
            past: per layer keys and values [B, H, E, C]
            cross: per layer keys [B, H, C, S] and values [B, H, S, C]
            source_bias: [B, 1, 1, S]

        Returns:
            candidate_scores, candidate_ids, candidate_origins [B, 2K], best first, origins being
            beams; then per layer present keys and values [B, H, E + K, C]
        """
        model = self.model
        sizes = (scores.shape[0], scores.shape[1])
        embeddings = model.target_embeddings
        x = embeddings.tokens(target_ids.flatten()) * embeddings.scale  # [N, D]
        x = x + position_encoding(position, model.config.d_model)
        presents: list[Tensor] = []
        for layer, kept, (cross_key, cross_value) in zip(self.layers, past, cross, strict=True):
            x, key, value = layer(x, kept, history, (cross_key, cross_value, source_bias))
            presents += [key, value]
        log_probs = model.projection(model.decoder_norm(x)).log_softmax(dim=1)
        vocab_size = log_probs.shape[1]
        padding = -vocab_size % BLOCK
        if padding:
            log_probs = F.pad(log_probs, (0, padding), value=float("-inf"))
        shaped = log_probs.view(*sizes, vocab_size + padding)
        return (*best_candidates(shaped, scores, vocab_size), *presents)
