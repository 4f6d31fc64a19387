"""The weights in an exported graph, in the order of computation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.external_data_helper import load_external_data_for_model

from tfm.export.errors import ExportError
from tfm.export.shortlist.output_layer import EXACT_BIAS, PREFIX
from tfm.runtime.config import VariantFiles
from tfm.trainer.model import Transformer

Array = NDArray[np.float32]


def read_graph(folder: Path, files: VariantFiles, part: str) -> onnx.ModelProto:
    """A graph with its weights, which lie in the variant's own file and nowhere else.

    Raises:
        ModelError: the graph is not the one that config.json names
        ExportError: it is damaged, or its weights lie elsewhere
    """
    path = getattr(files, part).verify(folder)
    weights = (folder / files.weights.path).resolve()
    try:
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location" and (path.parent / entry.value).resolve() != weights:
                    raise ExportError(f"{path}: weights in {entry.value!r}, not in {weights.name}")
        load_external_data_for_model(model, str(path.parent))
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        raise ExportError(f"{path}: damaged: {error}") from error
    return model


class GraphWeights:
    """The weights of one graph, by the names of graphs/modules.py.

    Attributes:
        rows: of every linear layer the weight [N, K], a row per output, and its bias [N], zeros
            where there is none; in the order of the nodes
        table: the embeddings [V, D]
    """

    def __init__(self, model: onnx.ModelProto, prefix: str) -> None:
        """prefix is what all names begin with.

        Raises:
            ExportError: the graph has no embeddings
        """
        self._tensors = {
            tensor.name.removeprefix(prefix): tensor for tensor in model.graph.initializer
        }
        self.rows: list[tuple[str, Array, Array]] = []
        self._norms: list[tuple[str, Array, Array]] = []
        tables = []
        chosen = _chosen_tokens(model)
        for node in model.graph.node:
            inputs = [name.removeprefix(prefix) for name in node.input]
            if len(inputs) > 1 and inputs[1].startswith(PREFIX):
                continue  # the preview of a shortlist
            if node.op_type == "Gather" and node.input[1] in chosen:
                self._add_output_layer(inputs[0])
            elif node.op_type in ("MatMul", "Gemm") and inputs[1] in self._tensors:
                matrix = self._array(inputs[1])
                rows = matrix if _is_transposed(node) else matrix.T
                self._add_linear(inputs[1], rows, inputs[2:3])
            elif node.op_type == "MatMulIntegerToFloat":
                weight = inputs[1].removesuffix(".T").removesuffix(".int8")
                if f"{weight}.int8" not in self._tensors:
                    continue  # of rows that were gathered
                values = self._array(f"{weight}.int8").astype(np.float32)
                values = values if inputs[1].endswith(".T") else values.T
                scales = self._array(inputs[3])
                if scales.ndim > 1:  # times the input's
                    scales = scales.ravel() / self._array(f"{weight}.input_scale")
                self._add_linear(weight, values * scales[:, None], inputs[6:7])
            elif node.op_type == "LayerNormalization":
                weight_array = self._array(inputs[1])
                bias = self._bias(inputs[2:3], len(weight_array))
                self._norms.append((inputs[1].removesuffix(".weight"), weight_array, bias))
            elif node.op_type == "Gather":
                tables += self._embeddings(inputs[0])
        if not tables:
            raise ExportError("a graph has no embeddings")
        self.table: Array = tables[0]

    def linears(self, expected: Sequence[str]) -> list[tuple[Array, Array]]:
        """Weight and bias of the linear layers whose weights have these names.

        Raises:
            ExportError: the graph has more or fewer
        """
        return _in_order(self.rows, expected, "linear layers")

    def norms(self, expected: Sequence[str]) -> list[tuple[Array, Array]]:
        """Weight and bias of the layer normalizations with these names.

        Raises:
            ExportError: the graph has more or fewer
        """
        return _in_order(self._norms, expected, "layer normalizations")

    def _add_linear(self, name: str, rows: Array, bias: Sequence[str]) -> None:
        self.rows.append((name, rows, self._bias(bias, len(rows))))

    def _add_output_layer(self, name: str) -> None:
        """The output layer of a shortlist, whose rows are gathered."""
        weight = name.removesuffix(".int8")
        tensor = self._tensors.get(name)
        if tensor is None or len(tensor.dims) != 2:
            return  # scales or biases of those rows, or what a sentence may use
        rows = self._array(name)
        if weight != name:
            rows = rows * self._array(f"{weight}.scales")[:, None]
        bias = [EXACT_BIAS] if EXACT_BIAS in self._tensors else []
        self._add_linear(weight, rows, bias)

    def _bias(self, names: Sequence[str], size: int) -> Array:
        return self._array(names[0]) if any(names) else np.zeros(size, np.float32)

    def _embeddings(self, name: str) -> list[Array]:
        tensor = self._tensors.get(name)
        if tensor is None or len(tensor.dims) != 2:
            return []
        table = name.removesuffix(".int8").removesuffix(".row_scales")
        scales = self._tensors.get(f"{table}.row_scales")
        if scales is None:
            return [self._array(table)]
        return [self._array(f"{table}.int8") * numpy_helper.to_array(scales)]

    def _array(self, name: str) -> Array:
        tensor: TensorProto | None = self._tensors.get(name)
        if tensor is None:
            raise ExportError(f"the graphs do not hold {name!r}")
        return numpy_helper.to_array(tensor)


def _in_order(
    found: Sequence[tuple[str, Array, Array]], expected: Sequence[str], what: str
) -> list[tuple[Array, Array]]:
    """By name, and where a name is missing (of equal tensors one is kept), by place."""
    if len(found) != len(expected):
        raise ExportError(f"a graph has {len(found)} {what}, by checkpoint.json {len(expected)}")
    weights = {name: weight for name, weight, _ in reversed(found)}
    return [
        (weights.get(name, weight), bias)
        for name, (_, weight, bias) in zip(expected, found, strict=True)
    ]


def norms_of(model: Transformer, side: str) -> dict[str, str]:
    """The layer normalizations of a graph in the order of computation: their names there, and in
    the trainer's state."""
    layers = model.encoder if side == "encoder" else model.decoder
    parts = ("self_attention", "ssru", "cross_attention", "feed_forward")
    named = {
        f"layers.{index}.layer.{part}_residual.norm": f"{side}.{index}.{part}_residual.norm"
        for index, layer in enumerate(layers)
        for part in parts
        if hasattr(layer, part)
    }
    if model.config.norm == "pre":
        named[f"model.{side}_norm"] = f"{side}_norm"
    return named


def _chosen_tokens(model: onnx.ModelProto) -> set[str]:
    """The tensors that hold the tokens whose rows a shortlist gathers."""
    found: set[str] = set()
    listed: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "NonZero" or (node.op_type == "Reshape" and node.input[0] in listed):
            listed.update(node.output)
        elif node.op_type == "TopK" or (node.op_type == "Concat" and node.input[0] in listed):
            found.update(node.output)
    return found


def _is_transposed(node: NodeProto) -> bool:
    return any(a.name == "transB" and helper.get_attribute_value(a) for a in node.attribute)
