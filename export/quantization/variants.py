"""The variants of a model: the same graphs in different precisions."""

import sys
from collections.abc import Collection
from pathlib import Path

import onnx

from tfm.export.graphs.passes import drop_clipped_relu
from tfm.export.graphs.trace import Graphs
from tfm.runtime import Translator
from tfm.runtime.config import ModelConfig
from tfm.runtime.device import Choice
from tfm.runtime.sessions import Sessions

from .calibrate import ActivationParams
from .float16 import to_float16
from .integers import quantize_int4, quantize_int8
from .linears import in_graph

VARIANTS = ("fp32", "fp16", "int8", "int4")
CALIBRATED = frozenset({"int8"})  # those that need the parameters of activations
FOR_CUDA = frozenset({"fp16"})  # those that the runtime refuses to run on a CPU
# Outputs of the widest output layer that int8 makes for few rows. The encoder has many rows. With
# beams there are several per sentence, and wide products of 128 rows leave the processor's cache.
FEW_ROWS_UP_TO = {"encoder": 0, "decoder": 8192}
NO_LIMIT = sys.maxsize


def make_variant(
    graphs: Graphs, variant: str, params: ActivationParams, exclude: Collection[str] = ()
) -> Graphs:
    """Give float32 graphs the precision of a variant.

    Args:
        variant: one of VARIANTS
        params: of every linear layer's input, for the variants of CALIBRATED
        exclude: names of linear layers (linears.py) that int8 and int4 leave in float

    Raises:
        ExportError: a layer was not calibrated, or nothing is left to quantize
    """
    excluded = dict.fromkeys(exclude)

    def change(part: str, graph: onnx.ModelProto) -> onnx.ModelProto:
        weights = in_graph(part, excluded)
        if variant == "int8":
            few_rows_up_to = NO_LIMIT if graph is graphs.greedy_decoder else FEW_ROWS_UP_TO[part]
            quantized = quantize_int8(graph, in_graph(part, params), weights, few_rows_up_to)
            return drop_clipped_relu(quantized)
        if variant == "int4":
            return quantize_int4(graph, weights)
        return to_float16(graph) if variant == "fp16" else graph

    return Graphs(*(change(part, graph) for part, graph in graphs))


def open_to_check(folder: Path, variant: str, threads: int = 0) -> Translator:
    """A translator that runs a variant on the CPU, even one that is made for CUDA.

    fp16 is slow there, because ONNX Runtime converts most tensors to float32 and back; but it is
    the same graph with the same rounding of weights, activations and cache.

    Args:
        threads: as in Translator

    Raises:
        ModelError: the model folder cannot be used
    """
    config = ModelConfig.load(folder)
    choice = Choice("cpu", variant, "to check what it says")
    return Translator.from_sessions(folder, config, Sessions(folder, config, choice, threads))
