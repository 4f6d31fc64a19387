"""The variants of a model: the same graphs in different precisions."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import onnx

from tfm.export.graphs.passes import drop_clipped_relu
from tfm.export.graphs.trace import Graphs
from tfm.runtime import Translator
from tfm.runtime.config import ModelConfig
from tfm.runtime.device import Choice
from tfm.runtime.sessions import Sessions

from .calibrate import ActivationRange, Ranges
from .float16 import to_float16
from .integers import quantize_int4, quantize_int8
from .linears import in_graph

# A pass over one graph, given the ranges of its products' inputs and the weights to keep in float,
# both by the name of the weight.
Pass = Callable[[onnx.ModelProto, Mapping[str, ActivationRange], Collection[str]], onnx.ModelProto]


def _as_converted(
    model: onnx.ModelProto, _ranges: Mapping[str, ActivationRange], _keep_float: Collection[str]
) -> onnx.ModelProto:
    return model


def _in_8_bits(
    model: onnx.ModelProto, ranges: Mapping[str, ActivationRange], keep_float: Collection[str]
) -> onnx.ModelProto:
    return drop_clipped_relu(quantize_int8(model, ranges, keep_float))


def _in_4_bits(
    model: onnx.ModelProto, _ranges: Mapping[str, ActivationRange], keep_float: Collection[str]
) -> onnx.ModelProto:
    return quantize_int4(model, keep_float)


def _in_float16(
    model: onnx.ModelProto, _ranges: Mapping[str, ActivationRange], _keep_float: Collection[str]
) -> onnx.ModelProto:
    return to_float16(model)


def open_to_check(folder: Path, variant: str, threads: int = 0) -> Translator:
    """A translator for what a variant says, on the CPU whatever device it is made for.

    fp16 is slow there, ONNX Runtime turns most of its numbers into float32 and back; but it is
    the same graph with the same rounding of weights, activations and cache.

    Raises:
        ModelError: the model folder cannot be used
    """
    config = ModelConfig.load(folder)
    choice = Choice("cpu", variant, "to check what it says")
    return Translator.from_sessions(folder, config, Sessions(folder, config, choice, threads))


VARIANTS: dict[str, Pass] = {
    "fp32": _as_converted,
    "fp16": _in_float16,
    "int8": _in_8_bits,
    "int4": _in_4_bits,
}
CALIBRATED = frozenset({"int8"})  # those that need ranges
FOR_CUDA = frozenset({"fp16"})  # those that the runtime refuses to run on a CPU


def make_variant(
    graphs: Graphs, variant: str, ranges: Ranges, keep_float: Collection[str] = ()
) -> Graphs:
    """Give float32 graphs the precision of a variant.

    Args:
        ranges: of every product's input, for the variants of CALIBRATED
        keep_float: names of products (products.py) that stay in float

    Raises:
        ExportError: nothing is left to quantize
    """
    kept = dict.fromkeys(keep_float)
    change = VARIANTS[variant]
    return Graphs(
        *(change(graph, in_graph(part, ranges), in_graph(part, kept)) for part, graph in graphs)
    )
