"""A shortlist that is ready to be put into the graphs of every variant."""

from dataclasses import dataclass, replace
from typing import ClassVar

import onnx

from tfm.export.graphs.trace import Graphs

from .low_rank import Floats, LowRankProjection
from .output_layer import output_layer
from .preview import fit_preview, with_preview


@dataclass(frozen=True, slots=True)
class PreviewShortlist:
    """A preview of the logits (preview.py), and the hidden states that it was fitted on [n, D]."""

    graphs: Graphs  # in float32
    preview: LowRankProjection
    rows: Floats

    kind: ClassVar[str] = "preview"

    @classmethod
    def fit(cls, graphs: Graphs, rows: Floats, rank: int | None = None) -> "PreviewShortlist":
        """Fit it on hidden states [n, D] of real sentences.

        Args:
            graphs: in float32
            rank: None is the smallest that loses few best tokens
        """
        return cls(graphs, fit_preview(output_layer(graphs.decoder), rows, rank), rows)

    def apply(self, made: Graphs) -> Graphs:
        """The graphs of a variant with the shortlist in their decoders."""

        def change(decoder: onnx.ModelProto, in_float32: onnx.ModelProto) -> onnx.ModelProto:
            return with_preview(decoder, output_layer(in_float32), self.preview, self.rows)

        return replace(
            made,
            decoder=change(made.decoder, self.graphs.decoder),
            greedy_decoder=change(made.greedy_decoder, self.graphs.greedy_decoder),
        )
