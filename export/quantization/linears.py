"""The linear layers of the graphs, and which of the trainer's layers each of them combines."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from torch import nn

from tfm.trainer.model import DecoderLayer, Transformer

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class LinearLayer:
    """One linear layer of a graph.

    `linears` are the trainer's layers that it computes: several where graphs/modules.py packs
    layers that read the same input into one.
    """

    graph: str  # "encoder" or "decoder"
    weight: str  # the name of its weight in that graph
    linears: tuple[nn.Linear, ...]

    @property
    def name(self) -> str:
        """For messages and verify.json: encoder/layers.0.query_key_value."""
        return f"{self.graph}/{self.weight.removesuffix('.weight')}"


def linear_layers(model: Transformer) -> list[LinearLayer]:
    """Every linear layer of both graphs, in the order of computation.

    Weights have the names that graphs/modules.py gives them.
    """
    layers = []
    for index, encoder_layer in enumerate(model.encoder_layers):
        attention, feed_forward = encoder_layer.self_attention, encoder_layer.feed_forward
        packed = (attention.q_proj, attention.k_proj, attention.v_proj)
        layers += _layer("encoder", index, {
            "query_key_value": packed,
            "layer.self_attention.out_proj": (attention.out_proj,),
            "layer.feed_forward.inner": (feed_forward.inner,),
            "layer.feed_forward.outer": (feed_forward.outer,),
        })  # fmt: skip
    crossed = [layer.cross_attention for layer in model.decoder_layers]
    cross = tuple(linear for a in crossed for linear in (a.k_proj, a.v_proj))
    layers.append(LinearLayer("encoder", "cross.weight", cross))
    for index, decoder_layer in enumerate(model.decoder_layers):
        feed_forward = decoder_layer.feed_forward
        layers += _layer("decoder", index, {
            **_autoregression(decoder_layer),
            "cross_query": (decoder_layer.cross_attention.q_proj,),
            "layer.cross_attention.out_proj": (decoder_layer.cross_attention.out_proj,),
            "layer.feed_forward.inner": (feed_forward.inner,),
            "layer.feed_forward.outer": (feed_forward.outer,),
        })  # fmt: skip
    layers.append(LinearLayer("decoder", "model.projection.weight", (model.projection,)))
    return layers


def _autoregression(layer: DecoderLayer) -> dict[str, tuple[nn.Linear, ...]]:
    """The linear layers of self-attention, or of what is in its place."""
    if layer.is_recurrent:
        return {"input_forget": (layer.ssru.input_proj, layer.ssru.forget_proj)}
    attention = layer.self_attention
    return {
        "query_key_value": (attention.q_proj, attention.k_proj, attention.v_proj),
        "layer.self_attention.out_proj": (attention.out_proj,),
    }


def in_graph(graph: str, named: Mapping[str, Value]) -> dict[str, Value]:
    """The values of one graph's layers: from the layers' names to the names of their weights."""
    return {
        f"{name.removeprefix(graph + '/')}.weight": value
        for name, value in named.items()
        if name.startswith(graph + "/")
    }


def _layer(graph: str, index: int, parts: dict[str, tuple[nn.Linear, ...]]) -> list[LinearLayer]:
    return [
        LinearLayer(graph, f"layers.{index}.{part}.weight", linears)
        for part, linears in parts.items()
    ]
