"""The variables in a CTranslate2 model.bin, each checked before memory is taken for it.

The file (src/models/model.cc of OpenNMT/CTranslate2), little-endian; a string is a uint16, how many
bytes follow, and these bytes, of which the last is zero:

    uint32      version; here 2 to 6
    string      name of the specification
    uint32      its revision
    uint32      how many variables
    each        string name, uint8 dimensions, uint32 each, uint8 type, uint32 bytes, the data
    uint32      from version 3 on: how many names of further variables are those of others
    each        string name, string of which variable

Before version 4 the type is the bytes of an item, and the size is in items. A quantized matrix has
a `_scale` beside it, for every row or for all, what its weights were multiplied by.
"""

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfm.trainer.errors import TrainError
from tfm.trainer.importing.npz import Arrays

OLDEST, NEWEST = 2, 6
# numpy has no bfloat16: its bits are the upper half of a float32.
TYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2", 5: "<u2"}
BFLOAT16 = 5
BY_ITEM_SIZE = {4: 0, 2: 2, 1: 1}
SCALE = "_scale"


@dataclass(frozen=True, slots=True)
class Variables:
    """What a model.bin holds.

    Attributes:
        specification: such as TransformerSpec, with its revision
        arrays: by name; matrices as float32, whatever they were stored as
    """

    version: int
    specification: str
    revision: int
    arrays: Arrays


def read_variables(content: bytes) -> Variables:
    """Parse a model.bin.

    Raises:
        TrainError: it is none, of a version that is not read, or damaged
    """
    cursor = _Cursor(memoryview(content))
    try:
        version = cursor.number("I")
        if not OLDEST <= version <= NEWEST:
            raise TrainError(
                f"no model.bin of version {OLDEST} to {NEWEST} (the first number is {version})"
            )
        specification, revision = cursor.string(), cursor.number("I")
        arrays = dict(_variable(cursor, version) for _ in range(cursor.number("I")))
        aliases = cursor.number("I") if version >= 3 else 0
        names = [(cursor.string(), cursor.string()) for _ in range(aliases)]
    except struct.error as error:
        raise TrainError(f"damaged: it ends after {len(content)} bytes, too early") from error
    for alias, name in names:
        for end in ("", SCALE):
            if name + end in arrays:
                arrays[alias + end] = arrays[name + end]
            elif not end:
                raise TrainError(f"{alias!r} stands for {name!r}, which is missing")
    return Variables(version, specification, revision, _dequantized(arrays))


class _Cursor:
    """A place in the file; reading beyond the end raises struct.error."""

    def __init__(self, content: memoryview) -> None:
        self.content, self.position = content, 0

    def take(self, length: int) -> memoryview:
        end = self.position + length
        if end > len(self.content):
            raise struct.error
        taken, self.position = self.content[self.position : end], end
        return taken

    def number(self, kind: str) -> int:
        (value,) = struct.unpack(f"<{kind}", self.take(struct.calcsize(kind)))
        return int(value)

    def string(self) -> str:
        return bytes(self.take(self.number("H"))).rstrip(b"\0").decode("utf-8", "replace")


def _variable(cursor: _Cursor, version: int) -> tuple[str, NDArray[Any]]:
    name = cursor.string()
    shape = tuple(cursor.number("I") for _ in range(cursor.number("B")))
    kind, size = cursor.number("B"), cursor.number("I")
    if version < 4:
        kind, size = BY_ITEM_SIZE.get(kind, -1), size * kind
    if kind not in TYPES:
        raise TrainError(f"{name!r} is of the unknown type {kind}")
    needed = math.prod(shape) * np.dtype(TYPES[kind]).itemsize
    if size != needed:
        raise TrainError(f"{name!r} is {list(shape)}, {needed} bytes, and has {size}")
    array = np.frombuffer(cursor.take(size), dtype=TYPES[kind]).reshape(shape)
    if kind == BFLOAT16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return name, array


def _dequantized(arrays: Arrays) -> Arrays:
    """Without scales, and with what they belong to as float32.

    Raises:
        TrainError: a scale does not fit its weight, or a weight has none
    """
    found: Arrays = {}
    for name, array in arrays.items():
        if name.endswith(SCALE):
            continue
        scale = arrays.get(name + SCALE)
        if scale is not None:
            scale = scale.astype(np.float32).flatten()
            if array.ndim != 2 or scale.size not in (1, array.shape[0]):
                raise TrainError(f"{name} is {list(array.shape)}, and has {scale.size} scales")
            if not (np.isfinite(scale) & (scale > 0)).all():
                raise TrainError(f"{name} has scales that are not above zero")
            found[name] = array.astype(np.float32) / scale[:, None]
        elif array.ndim and array.dtype.kind == "f":
            found[name] = array.astype(np.float32)
        elif array.ndim > 1:
            raise TrainError(f"{name} holds {array.dtype} without a scale: not supported")
        else:
            found[name] = array
    return found
