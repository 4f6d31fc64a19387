"""The trainer's modules rearranged into the two graphs that decode fast on ONNX Runtime.

Nothing is computed differently, only at another time or place: query, key and value projections
are packed into one product, 1/sqrt(C) is folded into the query's weights, self-attention reads a
cache, cross-attention keys and values come ready from the encoder graph and serve all beams of a
sentence at once, and the step ends with the 2K best candidates instead of V logits per beam.

Shapes: B sentences, K beams, N = B x K rows, P rows of the past, S source length, T target length
so far, D d_model, H heads, C = D / H, V vocabulary.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfm.trainer.model import (
    DecoderLayer,
    EncoderLayer,
    MultiHeadAttention,
    Transformer,
    attention_bias,
    sinusoidal_positions,
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
        """[B, S, D] to [B, S, D]; source_bias [B, 1, 1, S]."""
        layer = self.layer
        y = layer.self_attention_residual.before(x)
        q, k, v = (
            torch.unflatten(one, 2, (self.num_heads, -1)).transpose(1, 2)  # [B, H, S, C]
            for one in self.query_key_value(y).chunk(3, dim=2)
        )
        weights = (q @ k.transpose(2, 3) + source_bias).softmax(dim=3)
        y = layer.self_attention.out_proj((weights @ v).transpose(1, 2).flatten(2))
        x = layer.self_attention_residual.after(x, y)
        y = layer.feed_forward(layer.feed_forward_residual.before(x))
        return layer.feed_forward_residual.after(x, y)


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
        x = model.source_embeddings(source_ids)
        for layer in self.layers:
            x = layer(x, source_bias)
        crossed = self.cross(model.encoder_norm(x)).chunk(2 * len(model.decoder), dim=2)
        outputs = []
        for index, one in enumerate(crossed):
            one = torch.unflatten(one, 2, (self.num_heads, -1))  # [B, S, H, C]
            outputs.append(one.permute(0, 2, 3, 1) if index % 2 == 0 else one.transpose(1, 2))
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
        cross: tuple[Tensor, Tensor, Tensor],
        beams: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Advance by one token.

        Args:
            x: [N, D]
            past: keys and values [N, H, T, C], already in the order of the rows
            cross: keys [B, H, C, S], values [B, H, S, C], source_bias [B, 1, 1, S]
            beams: K

        Returns:
            [N, D], and present keys and values [N, H, T + 1, C]
        """
        layer = self.layer
        y = layer.self_attention_residual.before(x)
        q, new_key, new_value = (
            torch.unflatten(one, 1, (self.num_heads, 1, -1))  # [N, H, 1, C]
            for one in self.query_key_value(y).chunk(3, dim=1)
        )
        key, value = torch.cat((past[0], new_key), 2), torch.cat((past[1], new_value), 2)
        attended = (q @ key.transpose(2, 3)).softmax(dim=3) @ value  # [N, H, 1, C]
        y = layer.self_attention.out_proj(attended.flatten(1))
        x = layer.self_attention_residual.after(x, y)

        y = layer.cross_attention_residual.before(x)
        # The beams of a sentence are its queries: its keys and values need no copy per beam.
        q = torch.unflatten(self.cross_query(y), 1, (self.num_heads, -1))  # [N, H, C]
        q = torch.unflatten(q, 0, (-1, beams)).transpose(1, 2)  # [B, H, K, C]
        attended = (q @ cross[0] + cross[2]).softmax(dim=3) @ cross[1]
        y = layer.cross_attention.out_proj(attended.transpose(1, 2).flatten(2).flatten(0, 1))
        x = layer.cross_attention_residual.after(x, y)

        y = layer.feed_forward(layer.feed_forward_residual.before(x))
        return layer.feed_forward_residual.after(x, y), key, value


def best_candidates(totals: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest of each row, best first, ties to the lower index.

    Two stages, because a full TopK over K x V is slow: any of the `count` best lies in one of the
    `count` blocks with the largest maxima.

    Args:
        totals: [B, M], M a multiple of BLOCK and at least count x BLOCK

    Returns:
        values and indices, [B, count] each
    """
    blocks = torch.unflatten(totals, 1, (-1, BLOCK))  # [B, M / BLOCK, BLOCK]
    chosen = blocks.amax(dim=2).topk(count, dim=1).indices
    chosen = chosen.sort(dim=1).values  # in order, so that ties still go to the lower index
    rows = chosen.unsqueeze(2).expand(-1, -1, BLOCK)
    values, inside = blocks.gather(1, rows).flatten(1).topk(count, dim=1)
    return values, chosen.gather(1, inside // BLOCK) * BLOCK + inside % BLOCK


class DecoderGraph(nn.Module):
    """One step of decoding: reorder the cache, advance every beam, pick the candidates."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model
        self.layers = nn.ModuleList(CachedDecoderLayer(layer) for layer in model.decoder_layers)

    def forward(
        self,
        target_ids: Tensor,
        beam_origin: Tensor,
        scores: Tensor,
        past: list[tuple[Tensor, Tensor]],
        cross: list[tuple[Tensor, Tensor]],
        source_bias: Tensor,
    ) -> tuple[Tensor, ...]:
        """Advance by one token.

        Args:
            target_ids: [N] int64, the last token of every hypothesis
            beam_origin: [N] int64, the row of the past that each hypothesis continues
            scores: [B, K] summed log-probabilities of the hypotheses
            past: per layer keys and values [P, H, T, C]
            cross: per layer keys [B, H, C, S] and values [B, H, S, C]
            source_bias: [B, 1, 1, S]

        Returns:
            candidate_scores, candidate_ids, candidate_origins [B, 2K], best first; then per layer
            present keys and values [N, H, T + 1, C]
        """
        model = self.model
        beams = scores.shape[1]
        embeddings = model.target_embeddings
        positions = torch.full((1,), past[0][0].shape[2], dtype=torch.float32)
        x = embeddings.tokens(target_ids) * embeddings.scale
        x = x + sinusoidal_positions(positions, model.config.d_model)
        presents: list[Tensor] = []
        for layer, (key, value), (cross_key, cross_value) in zip(
            self.layers, past, cross, strict=True
        ):
            own = (key.index_select(0, beam_origin), value.index_select(0, beam_origin))
            x, key, value = layer(x, own, (cross_key, cross_value, source_bias), beams)
            presents += [key, value]
        log_probs = model.projection(model.decoder_norm(x)).log_softmax(dim=1)
        vocab_size = log_probs.shape[1]
        padded = -(-vocab_size // BLOCK) * BLOCK
        totals = torch.unflatten(log_probs, 0, (-1, beams)) + scores.unsqueeze(2)  # [B, K, V]
        if padded != vocab_size:
            totals = F.pad(totals, (0, padded - vocab_size), value=float("-inf"))
        if padded > BLOCK:
            values, best = best_candidates(totals.flatten(1), 2 * beams)
        else:
            values, best = totals.flatten(1).topk(2 * beams, dim=1)
        # A candidate of score -inf may lie in the padding: it has to name a token all the same.
        ids = (best % padded).clamp(max=vocab_size - 1)
        return (values, ids, best // padded, *presents)
