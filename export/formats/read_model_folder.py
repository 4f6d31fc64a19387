"""A model folder back to the trainer's model, to train it further.

The graphs hold the weights rearranged (graphs/modules.py): projections packed into one layer,
queries divided by sqrt(C), and in int8 every row as bytes and a scale. linears.py knows which of
the trainer's layers each linear layer combines, and everything else keeps its name.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from tfm.export.errors import ExportError
from tfm.export.quantization.linears import linear_layers
from tfm.runtime.config import ModelConfig as FolderConfig
from tfm.trainer.checkpoint import Weights, load_checkpoint, load_weights, weights_of
from tfm.trainer.config import load_model_config
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer

CHECKPOINT_FILE = "checkpoint.json"  # in the model folder: the trainer's configuration
VARIANTS = ("fp32", "int8")  # that this can read, the better one first
STEP = "layers/"  # how step.py names what comes from the decoder's graph

Array = NDArray[np.float32]


def load_model(folder: Path) -> tuple[Transformer, Vocabulary]:
    """The model of a checkpoint or of a model folder, and its vocabulary.

    Raises:
        TrainError: the checkpoint cannot be read
        ModelError, ExportError: the model folder cannot be; see `unpack`
    """
    if (folder / CHECKPOINT_FILE).exists():
        return unpack(folder)
    if any((folder / name).is_dir() for name in VARIANTS):
        raise ExportError(f"{folder} has no {CHECKPOINT_FILE}: an older tfm exported it")
    return load_exportable(folder)


def load_exportable(checkpoint: Path) -> tuple[Transformer, Vocabulary]:
    """The model of a checkpoint, in evaluation mode, and its vocabulary: for every export.

    Raises:
        TrainError: the checkpoint cannot be read
        ExportError: its model is an experiment, which no graph and no other tool has the parts for
    """
    model, vocabulary = load_checkpoint(checkpoint)
    if model.config.ablations:
        raise ExportError(
            f"{checkpoint} was trained with ablations {', '.join(model.config.ablations)}: "
            "experiments cannot be exported"
        )
    return model, vocabulary


def unpack(folder: Path) -> tuple[Transformer, Vocabulary]:
    """The model of a folder that `tfm export` wrote, in evaluation mode, and its vocabulary.

    From fp32 where it is there, and then exact up to the rounding of sqrt(C); else from int8, whose
    rows are read as bytes times their scale.

    Raises:
        ModelError: the folder is damaged
        ExportError: it has neither variant
    """
    there = FolderConfig.load(folder).variants
    variant = next((name for name in VARIANTS if name in there), None)
    if variant is None:
        raise ExportError(f"{folder} has {', '.join(there)}: {' or '.join(VARIANTS)} is needed")
    there[variant].weights.verify(folder)
    config = load_model_config(folder / CHECKPOINT_FILE)
    vocabulary = Vocabulary.load(folder)
    vocabulary.check(config)
    model = Transformer(config).eval()
    graphs = {}
    for part in ("encoder", "decoder"):
        path = getattr(there[variant], part).verify(folder)
        graphs[part] = _Graph(onnx.load(path), STEP if part == "decoder" else "")
    load_weights(model, _weights(model, graphs))
    return model, vocabulary


class _Graph:
    """The weights of one graph, by the names of graphs/modules.py.

    Attributes:
        rows: of every linear layer the weight [N, K], a row per output
        tables: of every embedding, [V, D]
        vectors: biases and normalizations
    """

    def __init__(self, model: onnx.ModelProto, prefix: str) -> None:
        tensors = {
            tensor.name.removeprefix(prefix): numpy_helper.to_array(tensor)
            for tensor in model.graph.initializer
        }
        self.vectors: dict[str, Array] = {n: t for n, t in tensors.items() if t.ndim == 1}
        self.rows: dict[str, Array] = {}
        self.tables: dict[str, Array] = {}
        for node in model.graph.node:
            inputs = [name.removeprefix(prefix) for name in node.input]
            if node.op_type in ("MatMul", "Gemm") and inputs[1] in tensors:
                matrix = tensors[inputs[1]]
                self.rows[inputs[1]] = matrix if _is_transposed(node) else matrix.T
            elif node.op_type == "MatMulIntegerToFloat":
                weight = inputs[1].removesuffix(".T").removesuffix(".int8")
                values = tensors[f"{weight}.int8"].astype(np.float32)
                values = values if inputs[1].endswith(".T") else values.T
                self.rows[weight] = values * tensors[inputs[3]][:, None]
            elif node.op_type == "Gather" and tensors.get(inputs[0], np.empty(0)).ndim == 2:
                table = inputs[0].removesuffix(".int8").removesuffix(".row_scales")
                scales = tensors.get(f"{table}.row_scales")
                self.tables[table] = (
                    tensors[table] if scales is None else tensors[f"{table}.int8"] * scales
                )


def _is_transposed(node: NodeProto) -> bool:
    return any(a.name == "transB" and helper.get_attribute_value(a) for a in node.attribute)


def _weights(model: Transformer, graphs: Mapping[str, _Graph]) -> Weights:
    """By the names of the trainer's state."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    weights: dict[str, Array] = {}
    scale = (model.config.d_model // model.config.num_heads) ** 0.5
    for layer in linear_layers(model):
        graph = graphs[layer.graph]
        rows = graph.rows[layer.weight]
        bias = graph.vectors.get(f"{layer.weight.removesuffix('.weight')}.bias")
        sizes = np.cumsum([linear.out_features for linear in layer.linears])[:-1]
        parts = np.split(rows, sizes)
        biases = [None] * len(parts) if bias is None else np.split(bias, sizes)
        is_query = "query" in layer.weight  # the first part, or the only one
        for index, (linear, part, own) in enumerate(zip(layer.linears, parts, biases, strict=True)):
            factor = np.float32(scale if is_query and index == 0 else 1)
            weights[names[id(linear.weight)]] = part * factor
            if linear.bias is not None and own is not None:
                weights[names[id(linear.bias)]] = own * factor
    for side, graph in graphs.items():
        for name, vector in graph.vectors.items():
            if ".norm." in name or "_norm." in name:
                weights[_norm_name(side, name)] = vector
        for name, table in graph.tables.items():
            weights[name.removeprefix("model.")] = table
    if "output_bias" in graphs["decoder"].vectors and model.config.output_bias:
        bias = graphs["decoder"].vectors["output_bias"]
        weights["projection.bias"] = np.where(np.isfinite(bias), bias, np.float32(0))
    expected = weights_of(model)
    if model.config.tied_embeddings == "target":  # the graph has it under the projection's name
        weights["target_embeddings.tokens.weight"] = weights["projection.weight"]
    missing = expected.keys() - weights.keys()
    if missing:
        raise ExportError(f"the graphs do not hold {sorted(missing)[0]}: export the model again")
    return {name: torch.from_numpy(np.array(weights[name], order="C")) for name in expected}


def _norm_name(side: str, name: str) -> str:
    """layers.0.layer.x.norm.weight is encoder.0.x.norm.weight; model.encoder_norm.weight is its
    own name."""
    if name.startswith("model."):
        return name.removeprefix("model.")
    _, number, _, rest = name.split(".", 3)
    return f"{side}.{number}.{rest}"
