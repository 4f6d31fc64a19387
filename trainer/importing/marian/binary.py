"""Arrays of a .bin, Marian's binary format, each checked before memory is taken for it.

The file, as src/common/binary.cpp of marian-nmt/marian-dev writes it, little-endian:

    uint64          version, 1
    uint64          how many items
    4 uint64 each   bytes of the name with its final zero, type, dimensions, bytes of the data
    bytes           all names
    int32 each      all dimensions
    uint64          padding bytes that follow, so that the data begins at a multiple of 256
    bytes           the data of all items; what exceeds an item's values is padding

The quantized types of `marian-conv --gemm-type` that begin with intgemm hold whole numbers, and
after them a float32, what the weights were multiplied by before they were rounded. intgemm8 and
intgemm16 are the transposed matrix [out, in] row by row. The others are laid out for one kind of
processor, whose register holds R numbers (intgemm/interleave.h of kpu/intgemm): of every eighth row
the first R numbers, then those of the rows after them, and so on; a row continues in the one that
is eight below it.

Firefox's models (browsermt/marian-dev) are of an intgemm8 with another number. Their embeddings are
so too, but not transposed, and beside every matrix they have a scale for the activations that are
multiplied by it (`_QuantMultA`), which changes nothing here.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfm.runtime.files.regular import open_regular
from tfm.trainer.errors import TrainError
from tfm.trainer.importing.npz import Arrays

VERSION, ENCRYPTED = 1, 2
MOST_ITEMS, MOST_DIMENSIONS, MOST_NAME = 1 << 16, 8, 1 << 10
EMBEDDINGS = "Wemb"

# By the number that names a type.
PLAIN: Mapping[int, str] = {
    0x0101: "<i1",
    0x0402: "<f2",
    0x0404: "<f4",
    0x0408: "<f8",
}
# And the numbers in a register, R; 0 where the layout does not depend on it.
SCALED: Mapping[int, tuple[str, int]] = {
    0x10001: ("<i1", 0),  # intgemm8
    0x10002: ("<i2", 0),  # intgemm16
    0x18001: ("<i1", 16),  # intgemm8ssse3
    0x11001: ("<i1", 32),  # intgemm8avx2
    0x12001: ("<i1", 64),  # intgemm8avx512
    0x13001: ("<i1", 64),  # intgemm8avx512vnni
    0x14002: ("<i2", 8),  # intgemm16sse2
    0x11002: ("<i2", 16),  # intgemm16avx2
    0x12002: ("<i2", 32),  # intgemm16avx512
    0x04101: ("<i1", 0),  # intgemm8 of Firefox
    0x04102: ("<i2", 0),  # intgemm16 of Firefox
}
FIREFOX = (0x04101, 0x04102)
PACKED: Mapping[int, str] = {
    0x00802: "packed16",
    0x01801: "packed8avx2",
    0x02801: "packed8avx512",
}
GROUP = 8  # rows that one register each is taken of
TRANSPOSED = 16  # marian-conv transposes only sizes right that are multiples of it


@dataclass(frozen=True, slots=True)
class _Item:
    name: str
    type: int
    shape: tuple[int, ...]
    start: int
    size: int


def read_bin(path: Path) -> Arrays:
    """All arrays of a file by name; quantized ones as float32.

    Raises:
        TrainError: no such file, no .bin, a damaged one, or a type that is not read
    """
    try:
        with open_regular(path) as file:
            size = path.stat().st_size
            content = memoryview(file.read())
    except FileNotFoundError as error:
        raise TrainError(f"{path}: not found") from error
    except OSError as error:
        raise TrainError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return {item.name: _array(item, content) for item in _items(content)}
    except struct.error as error:
        raise TrainError(f"{path}: damaged: it ends after {size} bytes, too early") from error
    except TrainError as error:
        raise TrainError(f"{path}: {error}") from error


def _items(content: memoryview) -> list[_Item]:
    """Names, types, shapes and places of all items.

    Raises:
        TrainError, struct.error: they do not fit the file
    """
    version, count = struct.unpack_from("<QQ", content)
    if version == ENCRYPTED:
        raise TrainError("it is encrypted: not supported")
    if version != VERSION or not 0 < count < MOST_ITEMS:
        raise TrainError("no .bin of Marian")
    headers = list(struct.iter_unpack("<QQQQ", _cut(content, 16, 32 * count)))
    position = 16 + 32 * count
    names, shapes = [], []
    for length, _, dimensions, _ in headers:
        if not 0 < length < MOST_NAME or dimensions > MOST_DIMENSIONS:
            raise TrainError("damaged, or no .bin of Marian: a name or a shape is too long")
        names.append(
            bytes(_cut(content, position, length)).rstrip(b"\0").decode("utf-8", "replace")
        )
        position += length
    for name, (_, _, dimensions, _) in zip(names, headers, strict=True):
        shape = struct.unpack_from(f"<{dimensions}i", content, position)
        if any(size < 0 for size in shape):
            raise TrainError(f"{name!r} has the shape {list(shape)}")
        shapes.append(shape)
        position += 4 * dimensions
    (padding,) = struct.unpack_from("<Q", content, position)
    position += 8 + padding
    items = []
    for name, shape, (_, kind, _, size) in zip(names, shapes, headers, strict=True):
        items.append(_Item(name, kind, shape, position, size))
        position += size
    return items


def _array(item: _Item, content: memoryview) -> NDArray[Any]:
    if item.type in PLAIN:
        return _numbers(item, content, PLAIN[item.type]).reshape(item.shape)
    if item.type not in SCALED:
        raise TrainError(
            f"{item.name!r} is of type {PACKED.get(item.type, hex(item.type))}: convert the .npz "
            "with `marian-conv --gemm-type` float32 or intgemm8 instead"
        )
    kind, register = SCALED[item.type]
    numbers = _numbers(item, content, kind, after=4)
    (scale,) = struct.unpack_from("<f", content, item.start + numbers.nbytes)
    if not (math.isfinite(scale) and scale > 0):
        raise TrainError(f"{item.name!r} has the scale {scale}")
    floats = numbers.astype(np.float32) / np.float32(scale)
    if EMBEDDINGS in item.name and item.type in FIREFOX:
        return floats.reshape(item.shape)
    if len(item.shape) != 2:
        raise TrainError(f"{item.name!r} is {list(item.shape)}: no matrix")
    rows, columns = item.shape[1], item.shape[0]  # of the transposed matrix
    if rows % TRANSPOSED or columns % TRANSPOSED or floats.size % (GROUP * max(register, 1)):
        raise TrainError(
            f"{item.name!r} is {list(item.shape)}: marian-conv scrambles sizes that are no "
            f"multiple of {TRANSPOSED}: convert the .npz with --gemm-type float32"
        )
    if register:
        by_register = floats.reshape(-1, GROUP, register).swapaxes(0, 1)
        floats = by_register.reshape(GROUP, rows // GROUP, columns).swapaxes(0, 1)
    return floats.reshape(rows, columns).T


def _numbers(item: _Item, content: memoryview, kind: str, after: int = 0) -> NDArray[Any]:
    """The values as they are stored, with so many bytes after them."""
    length = math.prod(item.shape) * np.dtype(kind).itemsize
    if length + after > item.size:
        raise TrainError(f"{item.name!r} is {list(item.shape)}, and has {item.size} bytes")
    return np.frombuffer(_cut(content, item.start, length + after)[:length], dtype=kind)


def _cut(content: memoryview, start: int, length: int) -> memoryview:
    if start + length > len(content):
        raise struct.error
    return content[start : start + length]
