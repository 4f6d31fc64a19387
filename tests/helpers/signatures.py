"""Names, element types and shapes of a graph's inputs and outputs."""

from collections.abc import Iterable

from onnx import TensorProto, ValueInfoProto

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
Signature = list[tuple[str, int, list[int | str]]]


def signature(values: Iterable[ValueInfoProto]) -> Signature:
    """Name, element type and shape of each; a dimension that varies is its name."""
    return [
        (
            value.name,
            value.type.tensor_type.elem_type,
            [
                d.dim_param if d.HasField("dim_param") else d.dim_value
                for d in value.type.tensor_type.shape.dim
            ],
        )
        for value in values
    ]


def encoder_outputs(layers: int, heads: int, size: int) -> Signature:
    """cross_key.0, cross_value.0, cross_key.1 ..., source_bias in float32."""
    return [
        *_per_layer("cross", layers, ["B", heads, "S", size]),
        ("source_bias", FLOAT, ["B", 1, 1, "S"]),
    ]


def caches(prefix: str, layers: int, heads: int, size: int) -> Signature:
    """past_key.0, past_value.0, past_key.1 ... in float32, or the same with present."""
    slots = {"past": "E", "present": "E + K"}[prefix]
    return _per_layer(prefix, layers, ["B", heads, slots, size])


def _per_layer(prefix: str, layers: int, shape: list[int | str]) -> Signature:
    return [
        (f"{prefix}_{what}.{i}", FLOAT, shape) for i in range(layers) for what in ("key", "value")
    ]
