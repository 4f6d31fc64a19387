"""PyTorch to ONNX: the two graphs with the names and dynamic dimensions of their contract."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import onnx
import onnxsim
import torch
from torch import nn

from tfm.trainer.model import Transformer

from .errors import ExportError
from .graphs import DecoderGraph, EncoderGraph

OPSET = 20


@dataclass(frozen=True, slots=True)
class Graphs:
    """The encoder and the one-step decoder of one variant."""

    encoder: onnx.ModelProto
    decoder: onnx.ModelProto

    def __iter__(self) -> Iterator[tuple[str, onnx.ModelProto]]:
        yield "encoder", self.encoder
        yield "decoder", self.decoder


def layer_names(prefix: str, layers: int) -> list[str]:
    """past_key.0, past_value.0, past_key.1 ... in order; the prefix is cross, past or present."""
    return [f"{prefix}_{what}.{layer}" for layer in range(layers) for what in ("key", "value")]


def convert(model: Transformer) -> Graphs:
    """Export both graphs in float32 and simplify them.

    Raises:
        ExportError: torch cannot convert the model
    """
    model = model.eval().to("cpu", torch.float32)
    with torch.no_grad():
        return Graphs(simplify(_convert_encoder(model)), simplify(_convert_decoder(model)))


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants and drop what is redundant, with onnxsim; verify.py compares the results."""
    simplified, _ = onnxsim.simplify(model)
    del simplified.graph.input[:]  # onnxsim drops the name of beam_origin's dimension
    simplified.graph.input.extend(model.graph.input)
    return simplified  # type: ignore[no-any-return]


def _convert_encoder(model: Transformer) -> onnx.ModelProto:
    layers = model.config.decoder_layers
    return _export(
        EncoderGraph(model),
        (torch.tensor([[5, 6, 7], [8, 9, model.config.pad_id]]),),
        ({0: "B", 1: "S"},),
        ["source_ids"],
        [*layer_names("cross", layers), "source_bias"],
    )


def _convert_decoder(model: Transformer) -> onnx.ModelProto:
    config = model.config
    layers, heads = config.decoder_layers, config.num_heads
    size = config.d_model // heads
    # Example sizes are all different and none is 1 or 2, which tracing would take for constants.
    batch, beams, past_rows, source, target = 3, 4, 13, 7, 5
    rows = batch * beams
    shape = (past_rows, heads, target, size)
    example = (
        torch.full((rows,), config.bos_id),
        torch.zeros(rows, dtype=torch.int64),
        torch.zeros(batch, beams),
        [(torch.zeros(shape), torch.zeros(shape)) for _ in range(layers)],
        [
            (torch.zeros(batch, heads, size, source), torch.zeros(batch, heads, source, size))
            for _ in range(layers)
        ],
        torch.zeros(batch, 1, 1, source),
    )
    past = ({0: "P", 2: "T"}, {0: "P", 2: "T"})
    cross = ({0: "B", 3: "S"}, {0: "B", 2: "S"})
    dynamic = (
        {0: "N"},
        {0: "N"},
        {0: "B", 1: "K"},
        [past] * layers,
        [cross] * layers,
        {0: "B", 3: "S"},
    )
    converted = _export(
        DecoderGraph(model),
        example,
        dynamic,
        [
            *("target_ids", "beam_origin", "scores"),
            *layer_names("past", layers),
            *layer_names("cross", layers),
            "source_bias",
        ],
        [
            *("candidate_scores", "candidate_ids", "candidate_origins"),
            *layer_names("present", layers),
        ],
    )
    _rename_dimensions(converted)
    return converted


def _export(
    graph: nn.Module,
    example: tuple[object, ...],
    dynamic: tuple[object, ...],
    inputs: list[str],
    outputs: list[str],
) -> onnx.ModelProto:
    try:
        with _quiet():
            program = torch.onnx.export(
                graph.eval(),
                example,
                dynamo=True,
                dynamic_shapes=dynamic,
                input_names=inputs,
                output_names=outputs,
                opset_version=OPSET,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(f"torch {torch.__version__} cannot convert the model: {error}") from error
    assert program is not None
    return program.model_proto


def _rename_dimensions(model: onnx.ModelProto) -> None:
    """Write B where the exporter found N // K, so that the signature reads like the contract."""
    names = {"(N//K)": "B", "K*((N//K))": "N"}
    for value in (*model.graph.output, *model.graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            dimension.dim_param = names.get(dimension.dim_param, dimension.dim_param)


@contextmanager
def _quiet() -> Iterator[None]:
    """torch.onnx warns of its own internals; none of it is for the person who exports."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        registration.setLevel(level)
