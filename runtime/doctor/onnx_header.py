"""What an ONNX file says of itself, read without the package onnx: the versions of the format and
of the operators that it needs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tfm.runtime.errors import ModelError
from tfm.runtime.files.regular import read_regular

_LARGEST = 1 << 27  # bytes, as config.py has it for a graph
# Field numbers of ModelProto and OperatorSetIdProto in onnx.proto.
_IR_VERSION, _OPSET_IMPORT = 1, 8
_DOMAIN, _VERSION = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class OnnxHeader:
    """The versions that a graph was written for.

    Attributes:
        ir_version: of the file format
        opsets: version by domain; "ai.onnx" are the standard's own operators
    """

    ir_version: int
    opsets: dict[str, int]


def read(path: Path) -> OnnxHeader:
    """Read it.

    Raises:
        ModelError: it cannot be read, or is no ONNX file
    """
    try:
        data = read_regular(path, _LARGEST)
        return _parse(data)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, IndexError) as error:
        raise ModelError(f"{path} is no ONNX file") from error


def _parse(data: bytes) -> OnnxHeader:
    ir_version, opsets = 0, {}
    for number, value in _fields(data):
        if number == _IR_VERSION and isinstance(value, int):
            ir_version = value
        elif number == _OPSET_IMPORT and isinstance(value, bytes):
            entry = dict(_fields(value))
            domain, version = entry.get(_DOMAIN, b""), entry.get(_VERSION, 0)
            if not isinstance(domain, bytes) or not isinstance(version, int):
                raise ValueError("an opset_import of other types")
            opsets[domain.decode("utf-8") or "ai.onnx"] = version
    if not ir_version or not opsets:
        raise ValueError("no versions")
    return OnnxHeader(ir_version, opsets)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of a protobuf message."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        kind = key & 7
        if kind == _VARINT:
            value, position = _varint(data, position)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, position = _varint(data, position)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if position + size > len(data):
            raise ValueError("cut off")
        yield key >> 3, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("a number without an end")
