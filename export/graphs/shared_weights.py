"""One external weights file for all graphs of a variant: each weight stored once."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
from onnx import GraphProto, TensorProto, external_data_helper, numpy_helper

from .passes import bodies_of

ALIGNMENT = 64  # bytes; a cache line, and a multiple of every element size
INLINE_BELOW = 1024  # bytes; smaller tensors stay in the graph, where shape inference needs them


def save_shared(models: Sequence[tuple[Path, onnx.ModelProto]], weights: Path) -> None:
    """Write graphs whose large initializers lie in one file beside them.

    Equal bytes are stored once, whichever graph they belong to.

    Args:
        models: (path, model) of each graph, all in the folder of `weights`
        weights: the file to write
    """
    offsets: dict[bytes, int] = {}
    with weights.open("wb") as file:
        for path, model in models:
            copy = onnx.ModelProto()
            copy.CopyFrom(model)
            for tensor in _initializers(copy.graph):
                content = numpy_helper.to_array(tensor).tobytes()
                if len(content) < INLINE_BELOW:
                    continue
                digest = hashlib.sha256(content).digest()
                if digest not in offsets:
                    file.write(b"\0" * (-file.tell() % ALIGNMENT))
                    offsets[digest] = file.tell()
                    file.write(content)
                _point_to(tensor, weights.name, offsets[digest], len(content))
            path.write_bytes(copy.SerializeToString())


def _initializers(graph: GraphProto) -> Iterator[TensorProto]:
    """Those of a graph and of the bodies of its loops and branches."""
    yield from graph.initializer
    for body in bodies_of(graph):
        yield from _initializers(body)


def _point_to(tensor: TensorProto, location: str, offset: int, length: int) -> None:
    tensor.raw_data = b""  # set_external_data accepts raw data only, whatever field held it
    for field in ("float_data", "int32_data", "int64_data"):
        tensor.ClearField(field)
    external_data_helper.set_external_data(tensor, location, offset, length)
    tensor.ClearField("raw_data")
