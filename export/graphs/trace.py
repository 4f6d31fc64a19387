"""PyTorch to ONNX: encoder and decoder with the names and dimensions of export/README.md."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import onnx
import torch
from torch import nn

from tfm.export.errors import ExportError
from tfm.trainer.config import TransformerConfig
from tfm.trainer.model import Transformer

from .modules import DecoderGraph, EncoderGraph, GreedyDecoderGraph
from .passes import name_dimensions, simplify
from .recurrent_modules import RecurrentDecoderGraph

OPSET = 23  # the first with Attention


@dataclass(frozen=True, slots=True)
class Graphs:
    """The encoder and the one-step decoders of one variant.

    Attributes:
        decoder: for any number of beams
        greedy_decoder: the same for greedy search, with fewer operators
    """

    encoder: onnx.ModelProto
    decoder: onnx.ModelProto
    greedy_decoder: onnx.ModelProto

    def __iter__(self) -> Iterator[tuple[str, onnx.ModelProto]]:
        """The graphs, with the part of the model that each of them computes."""
        yield "encoder", self.encoder
        yield "decoder", self.decoder
        yield "decoder", self.greedy_decoder


def layer_names(prefix: str, layers: int) -> list[str]:
    """Names of one key and one value per layer: past_key.0, past_value.0, past_key.1 ...

    Args:
        prefix: "cross", "past" or "present"
    """
    return [f"{prefix}_{what}.{layer}" for layer in range(layers) for what in ("key", "value")]


def state_names(prefix: str, layers: int) -> list[str]:
    """Names of one recurrent state per layer: past_state.0, past_state.1 ...

    Args:
        prefix: "past" or "present"
    """
    return [f"{prefix}_state.{layer}" for layer in range(layers)]


def convert(model: Transformer) -> Graphs:
    """Export the graphs in float32 and simplify them.

    Raises:
        ExportError: torch cannot convert the model
    """
    model = model.eval().to("cpu", torch.float32)
    with torch.no_grad():
        graphs = Graphs(_convert_encoder(model), *_convert_decoders(model))
    return Graphs(*(simplify(name_dimensions(graph)) for _, graph in graphs))


def _convert_encoder(model: Transformer) -> onnx.ModelProto:
    layers = model.config.decoder_layers
    return _export(
        EncoderGraph(model),
        (torch.tensor([[5, 6, 7], [8, 9, model.config.pad_id]]),),
        ({0: "B", 1: "S"},),
        ["source_ids"],
        [*layer_names("cross", layers), "source_bias"],
    )


def _convert_decoders(model: Transformer) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The decoder for any number of beams, and that of greedy search."""
    if model.config.decoder_autoregression == "ssru":
        return _convert_recurrent_decoder(model, 4), _convert_recurrent_decoder(model, 1)
    return _convert_decoder(model), _convert_greedy_decoder(model)


def _convert_decoder(model: Transformer) -> onnx.ModelProto:
    config = model.config
    # All sizes differ, and none is 1 or 2: tracing would make constants of those.
    batch, beams, source, slots = 3, 4, 7, 5
    layers = _LayerInputs(config, batch, slots, source)
    example = (
        torch.full((batch, beams), config.bos_id),
        torch.zeros(1, config.d_model),
        torch.zeros(batch, 1, beams, slots + beams),
        layers.past,
        layers.cross,
        torch.zeros(batch, 1, beams, source),
    )
    dynamic: tuple[object, ...] = (
        {0: "B", 1: "K"},
        {},
        {0: "B", 2: "K", 3: torch.export.Dim.AUTO},
        layers.past_dimensions,
        layers.cross_dimensions,
        {0: "B", 2: "K", 3: "S"},
    )
    inputs = ["target_ids", "position_encoding", "ancestry", *layers.names, "source_bias"]
    return _export(DecoderGraph(model), example, dynamic, inputs, layers.outputs)


def _convert_greedy_decoder(model: Transformer) -> onnx.ModelProto:
    config = model.config
    batch, source, slots = 3, 7, 5
    layers = _LayerInputs(config, batch, slots, source)
    example = (
        torch.full((batch, 1), config.bos_id),
        torch.zeros(1, config.d_model),
        layers.past,
        layers.cross,
        torch.zeros(batch, 1, 1, source),
    )
    dynamic: tuple[object, ...] = (
        {0: "B"},
        {},
        layers.past_dimensions,
        layers.cross_dimensions,
        {0: "B", 3: "S"},
    )
    inputs = ["target_ids", "position_encoding", *layers.names, "source_bias"]
    return _export(GreedyDecoderGraph(model), example, dynamic, inputs, layers.outputs)


def _convert_recurrent_decoder(model: Transformer, beams: int) -> onnx.ModelProto:
    """The number of beams is fixed where it is 1."""
    config = model.config
    batch, source = 3, 7
    layers = _LayerInputs(config, batch, 0, source)
    pasts = state_names("past", config.decoder_layers)
    example = (
        torch.full((batch, beams), config.bos_id),
        torch.zeros(1, config.d_model),
        [torch.zeros(batch * beams, config.d_model) for _ in pasts],
        layers.cross,
        torch.zeros(batch, 1, beams, source),
    )
    several = beams > 1
    dynamic: tuple[object, ...] = (
        {0: "B", 1: "K"} if several else {0: "B"},
        {},
        [{0: torch.export.Dim.AUTO if several else "B"} for _ in pasts],
        layers.cross_dimensions,
        {0: "B", 2: "K", 3: "S"} if several else {0: "B", 3: "S"},
    )
    crosses = layer_names("cross", config.decoder_layers)
    inputs = ["target_ids", "position_encoding", *pasts, *crosses, "source_bias"]
    outputs = ["logits", *state_names("present", config.decoder_layers)]
    return _export(RecurrentDecoderGraph(model), example, dynamic, inputs, outputs)


class _LayerInputs:
    """Example keys and values of every layer, and their names and dynamic dimensions."""

    def __init__(self, config: TransformerConfig, batch: int, slots: int, source: int) -> None:
        layers, heads = config.decoder_layers, config.num_heads

        def example(length: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
            shape = (batch, heads, length, config.d_model // heads)
            return [(torch.zeros(shape), torch.zeros(shape)) for _ in range(layers)]

        self.past, self.cross = example(slots), example(source)
        self.past_dimensions = [({0: "B", 2: "E"}, {0: "B", 2: "E"})] * layers
        self.cross_dimensions = [({0: "B", 2: "S"}, {0: "B", 2: "S"})] * layers
        self.names = [*layer_names("past", layers), *layer_names("cross", layers)]
        self.outputs = ["logits", *layer_names("present", layers)]


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


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch.onnx's warnings about its own internals: users can do nothing about them."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        registration.setLevel(level)
