"""A shortlist that is ready to be put into the graphs of every variant."""

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import onnx

from tfm.export.graphs.trace import Graphs
from tfm.trainer.config import TransformerConfig
from tfm.trainer.data.shortlist import Shortlist

from .lexical import with_lexical, with_lists
from .low_rank import Floats, LowRankProjection
from .output_layer import output_layer
from .preview import fit_preview, with_preview


class PreparedShortlist(Protocol):
    """What puts a shortlist into the graphs; `kind` is its name in config.json."""

    kind: ClassVar[str]

    def apply(self, made: Graphs) -> Graphs:
        """The graphs of a variant with the shortlist in them."""


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


@dataclass(frozen=True, slots=True)
class LexicalShortlist:
    """What each source token may be translated with (lexical.py), learned from a corpus."""

    graphs: Graphs  # in float32
    shortlist: Shortlist
    config: TransformerConfig

    kind: ClassVar[str] = "lexical"

    def apply(self, made: Graphs) -> Graphs:
        """The graphs of a variant with the lists in the encoder and their use in the decoders."""

        def change(decoder: onnx.ModelProto, in_float32: onnx.ModelProto, several: bool
                   ) -> onnx.ModelProto:  # fmt: skip
            return with_lexical(decoder, output_layer(in_float32), several_beams=several)

        return replace(
            made,
            encoder=with_lists(made.encoder, self.shortlist, self.config),
            decoder=change(made.decoder, self.graphs.decoder, True),
            greedy_decoder=change(made.greedy_decoder, self.graphs.greedy_decoder, False),
        )
