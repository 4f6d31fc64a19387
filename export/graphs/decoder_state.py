"""What a decoder remembers of earlier tokens while a search goes on: the cache of self-attention,
or the states of SSRU.

The graphs that search, make a step and compact know only `DecoderState`; its two kinds say what
is remembered, how it follows the beams, and what is left of it when sentences have ended.

Shapes: B sentences, B' of them kept, K beams, N = B x K rows, H heads, E slots of the cache,
C head size, D d_model.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import onnx
from onnx import TensorProto, ValueInfoProto, helper

from tfm.trainer.config import TransformerConfig

from .builder import GraphBuilder, TensorTypes, type_of
from .cache_slots import choose_slots, compaction_metadata, every_slot, gather_slots
from .trace import layer_names, state_names

INT64, FLOAT = TensorProto.INT64, TensorProto.FLOAT


class DecoderState(Protocol):
    """What is remembered, in three graphs: a search's loops, decoder.onnx and compact.onnx.

    Attributes:
        pasts: the traced decoder's inputs, in the order of its layers
        presents: its outputs, in the same order
    """

    pasts: list[str]
    presents: list[str]

    def types(self, element: int) -> TensorTypes:
        """What a loop carries along: names, types and shapes; element is of `pasts`."""

    def start(self, b: GraphBuilder, batch: str, beams: str, element: int) -> dict[str, str]:
        """These tensors before the first step; batch and beams are [1]."""

    def phase_tensors(
        self, b: GraphBuilder, batch: str, beams: str, own_slots: str
    ) -> dict[str, str]:
        """Tensors that all steps between two compactions read.

        Args:
            own_slots: [K, K] 0 on the diagonal and -inf elsewhere
        """

    def begin_step(
        self, b: GraphBuilder, carried: Mapping[str, str], phase: Mapping[str, str]
    ) -> tuple[dict[str, str], dict[str, str]]:
        """What is carried with room for this step, and inputs of the traced decoder."""

    def end_step(
        self, b: GraphBuilder, carried: Mapping[str, str], presents: Sequence[str], rows: str
    ) -> dict[str, str]:
        """What the next step's beams carry; rows [N] are those that they continue."""

    def compact(
        self, b: GraphBuilder, carried: Mapping[str, str], kept: str, by_sentence: str, is_due: str
    ) -> dict[str, str]:
        """What is carried of some sentences.

        Args:
            kept: [B'] their indices
            by_sentence: [2] B and K
            is_due: [1] bool, whether what no beam needs any more is to go, too
        """

    def metadata(self) -> dict[str, str]:
        """What decoder.onnx and translate.onnx say of how it is compacted."""

    def step_input(self) -> ValueInfoProto:
        """The input of decoder.onnx that says how the beams were reordered."""

    def step_types(self, element: int) -> TensorTypes:
        """Types and shapes of `pasts` and `presents` in decoder.onnx."""

    def step_feeds(self, b: GraphBuilder) -> dict[str, str]:
        """Inputs of the traced decoder in decoder.onnx, from that graph's inputs."""

    def step_results(self, b: GraphBuilder, presents: Sequence[str]) -> dict[str, str]:
        """Outputs of decoder.onnx, from the traced decoder's."""

    def compact_inputs(self) -> list[ValueInfoProto]:
        """Inputs of compact.onnx beside `kept` and `pasts`."""

    def compacted(self, b: GraphBuilder) -> dict[str, str]:
        """`pasts` of the sentences `kept`, in compact.onnx."""


def state_element(decoder: onnx.ModelProto) -> int:
    """Element type of what is remembered, and of the encoder's keys and values."""
    return next(type_of(v)[0] for v in decoder.graph.input if v.name.startswith("past_"))


def decoder_state(config: TransformerConfig) -> DecoderState:
    """The kind that a model has."""
    recurrent = config.decoder_autoregression == "ssru"
    return RecurrentState(config) if recurrent else AttentionCache(config)


class AttentionCache:
    """Keys and values [B, H, E, C] per layer, which belong to sentences (see modules.py).

    `ancestry` [N, E], 0 or -inf, says which slots a beam descends from; it alone is reordered.
    """

    def __init__(self, config: TransformerConfig) -> None:
        self.heads, self.head_size = config.num_heads, config.d_model // config.num_heads
        self.pasts = layer_names("past", config.decoder_layers)
        self.presents = layer_names("present", config.decoder_layers)

    def types(self, element: int) -> TensorTypes:
        return {"ancestry": (FLOAT, ["N", "E"]), **self._caches(self.pasts, element, "E")}

    def start(self, b: GraphBuilder, batch: str, beams: str, element: int) -> dict[str, str]:
        zero = b.constant(0, helper.tensor_dtype_to_np_dtype(element).type)
        empty = b.Concat(batch, b.int64([self.heads, 0, self.head_size]), axis=0)
        no_slots = b.Concat(b.Mul(batch, beams), b.int64([0]), axis=0)
        return {
            "ancestry": b.Expand(b.float32(0), no_slots),
            **dict.fromkeys(self.pasts, b.Expand(zero, empty)),
        }

    def phase_tensors(
        self, b: GraphBuilder, batch: str, beams: str, own_slots: str
    ) -> dict[str, str]:
        one = b.int64([1])
        return {
            "own_slots": b.Tile(own_slots, b.Concat(batch, one, axis=0)),  # [N, K]
            "by_beam": b.Concat(batch, one, beams, b.int64([-1]), axis=0),  # the shape B, 1, K, -1
        }

    def begin_step(
        self, b: GraphBuilder, carried: Mapping[str, str], phase: Mapping[str, str]
    ) -> tuple[dict[str, str], dict[str, str]]:
        ancestry = b.Concat(carried["ancestry"], phase["own_slots"], axis=1)  # [N, E + K]
        feeds = {name: carried[name] for name in self.pasts}
        return {"ancestry": ancestry}, {**feeds, "ancestry": b.Reshape(ancestry, phase["by_beam"])}

    def end_step(
        self, b: GraphBuilder, carried: Mapping[str, str], presents: Sequence[str], rows: str
    ) -> dict[str, str]:
        ancestry = b.Gather(carried["ancestry"], rows, axis=0)
        return {"ancestry": ancestry, **dict(zip(self.pasts, presents, strict=True))}

    def compact(
        self, b: GraphBuilder, carried: Mapping[str, str], kept: str, by_sentence: str, is_due: str
    ) -> dict[str, str]:
        by_beam = kept_rows(b, carried["ancestry"], kept, by_sentence)
        slots = b.branch(
            is_due,
            lambda inner: choose_slots(inner, by_beam),
            lambda inner: every_slot(inner, by_beam),
            {"ancestry": (FLOAT, ["N", "E"]), "chosen": (INT64, ["B", "E"])},
        )
        caches = {name: carried[name] for name in self.pasts}
        gathered = gather_slots(b, caches, kept, slots["chosen"])
        return {"ancestry": slots["ancestry"], **gathered}

    def metadata(self) -> dict[str, str]:
        return compaction_metadata()

    def step_input(self) -> ValueInfoProto:
        return helper.make_tensor_value_info("ancestry", FLOAT, ["B", "K", "E + K"])

    def step_types(self, element: int) -> TensorTypes:
        pasts = self._caches(self.pasts, element, "E")
        return {**pasts, **self._caches(self.presents, element, "E + K")}

    def step_feeds(self, b: GraphBuilder) -> dict[str, str]:
        by_head = b.Unsqueeze("ancestry", b.int64([1]))
        return {"ancestry": by_head, **{name: name for name in self.pasts}}

    def step_results(self, b: GraphBuilder, presents: Sequence[str]) -> dict[str, str]:
        return dict(zip(self.presents, presents, strict=True))

    def compact_inputs(self) -> list[ValueInfoProto]:
        return [helper.make_tensor_value_info("chosen", INT64, ["B'", "E'"])]

    def compacted(self, b: GraphBuilder) -> dict[str, str]:
        return gather_slots(b, {name: name for name in self.pasts}, "kept", "chosen")

    def _caches(self, names: Sequence[str], element: int, slots: str) -> TensorTypes:
        return {name: (element, ["B", self.heads, slots, self.head_size]) for name in names}


class RecurrentState:
    """A state [N, D] per layer, which belongs to rows: beams that are reordered take it along.

    In decoder.onnx and compact.onnx it is [B, K, D]; `beam_origin` [B, K] there says which beam of
    the step before each beam goes on from.
    """

    def __init__(self, config: TransformerConfig) -> None:
        self.size = config.d_model
        self.pasts = state_names("past", config.decoder_layers)
        self.presents = state_names("present", config.decoder_layers)

    def types(self, element: int) -> TensorTypes:
        return {name: (element, ["N", self.size]) for name in self.pasts}

    def start(self, b: GraphBuilder, batch: str, beams: str, element: int) -> dict[str, str]:
        zero = b.constant(0, helper.tensor_dtype_to_np_dtype(element).type)
        rows = b.Concat(b.Mul(batch, beams), b.int64([self.size]), axis=0)
        return dict.fromkeys(self.pasts, b.Expand(zero, rows))

    def phase_tensors(
        self, b: GraphBuilder, batch: str, beams: str, own_slots: str
    ) -> dict[str, str]:
        return {}

    def begin_step(
        self, b: GraphBuilder, carried: Mapping[str, str], phase: Mapping[str, str]
    ) -> tuple[dict[str, str], dict[str, str]]:
        return {}, {name: carried[name] for name in self.pasts}

    def end_step(
        self, b: GraphBuilder, carried: Mapping[str, str], presents: Sequence[str], rows: str
    ) -> dict[str, str]:
        return {
            name: b.Gather(present, rows, axis=0)
            for name, present in zip(self.pasts, presents, strict=True)
        }

    def compact(
        self, b: GraphBuilder, carried: Mapping[str, str], kept: str, by_sentence: str, is_due: str
    ) -> dict[str, str]:
        every_row = b.int64([-1, self.size])
        return {
            name: b.Reshape(kept_rows(b, carried[name], kept, by_sentence), every_row)
            for name in self.pasts
        }

    def metadata(self) -> dict[str, str]:
        return {}

    def step_input(self) -> ValueInfoProto:
        return helper.make_tensor_value_info("beam_origin", INT64, ["B", "K"])

    def step_types(self, element: int) -> TensorTypes:
        shape: list[int | str] = ["B", "K", self.size]
        return {name: (element, shape) for name in (*self.pasts, *self.presents)}

    def step_feeds(self, b: GraphBuilder) -> dict[str, str]:
        batch, beams = b.size("beam_origin", 0), b.size("beam_origin", 1)
        sentences = b.Range(b.int64(0), b.Squeeze(batch), b.int64(1))
        first_rows = b.Unsqueeze(b.Mul(sentences, beams), b.int64([1]))  # [B, 1]
        rows = b.Reshape(b.Add("beam_origin", first_rows), b.int64([-1]))
        every_row = b.int64([-1, self.size])
        return {name: b.Gather(b.Reshape(name, every_row), rows, axis=0) for name in self.pasts}

    def step_results(self, b: GraphBuilder, presents: Sequence[str]) -> dict[str, str]:
        shape = b.Concat(b.Shape("beam_origin"), b.int64([self.size]), axis=0)
        return {
            name: b.Reshape(present, shape)
            for name, present in zip(self.presents, presents, strict=True)
        }

    def compact_inputs(self) -> list[ValueInfoProto]:
        return []

    def compacted(self, b: GraphBuilder) -> dict[str, str]:
        return {name: b.Gather(name, "kept", axis=0) for name in self.pasts}


def kept_rows(b: GraphBuilder, rows: str, kept: str, by_sentence: str) -> str:
    """The rows [N, X] of some sentences, as [B', K, X].

    Args:
        kept: [B'] their indices
        by_sentence: [2] B and K
    """
    # Every dimension is given: X may be 0, and ONNX forbids -1 beside it.
    shape = b.Concat(by_sentence, b.size(rows, 1), axis=0)
    name: str = b.Gather(b.Reshape(rows, shape, allowzero=1), kept, axis=0)
    return name
