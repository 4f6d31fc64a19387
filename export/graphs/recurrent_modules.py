"""One step of a decoder with SSRU: what modules.py is for self-attention.

Both projections of the unit read the same input and are one linear layer. A row's state is all that
it remembers of earlier tokens, so rows, not sentences, own it: when beams are reordered, the states
move.

Shapes: B sentences, K beams, N = B x K rows, S source length, D d_model, H heads, C = D / H,
V vocabulary.
"""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from tfm.trainer.model import DecoderLayer, Transformer
from tfm.trainer.ssru import next_state

from .modules import after_autoregression, output_bias, pack, scaled_query, step


class RecurrentDecoderLayer(nn.Module):
    """A decoder layer over one new token per row."""

    def __init__(self, layer: DecoderLayer) -> None:
        super().__init__()
        self.layer = layer
        self.input_forget = pack(layer.ssru.input_proj, layer.ssru.forget_proj)
        self.cross_query = scaled_query(layer.cross_attention)

    def forward(
        self, x: Tensor, past: Tensor, cross: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Advance by one token.

        Args:
            x: [N, D]
            past: states [N, D]
            cross: keys and values [B, H, S, C], source_bias [B, 1, K, S]

        Returns:
            [N, D], and present states [N, D]
        """
        residual = self.layer.ssru_residual
        projected, gate = self.input_forget(residual.before(x)).chunk(2, dim=1)
        present = next_state(projected, gate, past)
        x = residual.after(x, F.relu(present))
        return after_autoregression(self.layer, self.cross_query, x, cross), present


class RecurrentDecoderGraph(nn.Module):
    """One step of decoding, up to the logits; step.py adds what chooses the candidates."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model
        self.layers = nn.ModuleList(RecurrentDecoderLayer(layer) for layer in model.decoder_layers)
        self.output_bias = output_bias(model)

    def forward(
        self,
        target_ids: Tensor,
        position_encoding: Tensor,
        past: list[Tensor],
        cross: list[tuple[Tensor, Tensor]],
        source_bias: Tensor,
    ) -> tuple[Tensor, ...]:
        """Advance by one token.

        Args:
            target_ids: [B, K] int64, the last token of every hypothesis
            position_encoding: [1, D], of this step
            past: per layer states [N, D]
            cross: per layer keys and values [B, H, S, C]
            source_bias: [B, 1, K, S], the same for all beams

        Returns:
            logits [N, V]; then per layer present states [N, D]
        """
        layers = [
            partial(layer, past=state, cross=(*keys_values, source_bias))
            for layer, state, keys_values in zip(self.layers, past, cross, strict=True)
        ]
        return step(self.model, self.output_bias, target_ids, position_encoding, layers)
