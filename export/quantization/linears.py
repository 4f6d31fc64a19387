"""The weight products of the graphs, and where the trainer's model computes each of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from torch import nn

from tfm.trainer.model import Transformer

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Product:
    """One matrix product with a weight.

    `linears` are the trainer's linear maps that the graph computes with it: several where
    graphs.py packs them into one, and then they all read the same input.
    """

    graph: str  # "encoder" or "decoder"
    weight: str  # the name of its weight in that graph
    linears: tuple[nn.Linear, ...]

    @property
    def name(self) -> str:
        """What people read: encoder/layers.0.query_key_value."""
        return f"{self.graph}/{self.weight.removesuffix('.weight')}"


def weight_products(model: Transformer) -> list[Product]:
    """Every product of both graphs, in the order of computation; names as in graphs.py."""
    products = []
    for index, layer in enumerate(model.encoder_layers):
        attention, feed_forward = layer.self_attention, layer.feed_forward
        packed = (attention.q_proj, attention.k_proj, attention.v_proj)
        products += _layer("encoder", index, {
            "query_key_value": packed,
            "layer.self_attention.out_proj": (attention.out_proj,),
            "layer.feed_forward.inner": (feed_forward.inner,),
            "layer.feed_forward.outer": (feed_forward.outer,),
        })  # fmt: skip
    crossed = [layer.cross_attention for layer in model.decoder_layers]
    cross = tuple(linear for a in crossed for linear in (a.k_proj, a.v_proj))
    products.append(Product("encoder", "cross.weight", cross))
    for index, decoder_layer in enumerate(model.decoder_layers):
        attention, feed_forward = decoder_layer.self_attention, decoder_layer.feed_forward
        products += _layer("decoder", index, {
            "query_key_value": (attention.q_proj, attention.k_proj, attention.v_proj),
            "layer.self_attention.out_proj": (attention.out_proj,),
            "cross_query": (decoder_layer.cross_attention.q_proj,),
            "layer.cross_attention.out_proj": (decoder_layer.cross_attention.out_proj,),
            "layer.feed_forward.inner": (feed_forward.inner,),
            "layer.feed_forward.outer": (feed_forward.outer,),
        })  # fmt: skip
    products.append(Product("decoder", "model.projection.weight", (model.projection,)))
    return products


def in_graph(graph: str, named: Mapping[str, Value]) -> dict[str, Value]:
    """What is known of the products of one graph: by the name of the weight, not the product."""
    return {
        f"{name.removeprefix(graph + '/')}.weight": value
        for name, value in named.items()
        if name.startswith(graph + "/")
    }


def _layer(graph: str, index: int, parts: dict[str, tuple[nn.Linear, ...]]) -> list[Product]:
    return [
        Product(graph, f"layers.{index}.{part}.weight", linears) for part, linears in parts.items()
    ]
