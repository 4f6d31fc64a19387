"""A writer of Marian's .bin files, for the reader to be held to."""

import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

INT8, FLOAT32, INTGEMM8, FIREFOX_INTGEMM8 = 0x101, 0x404, 0x10001, 0x4101
REGISTERS = {"ssse3": (0x18001, 16), "avx2": (0x11001, 32), "avx512": (0x12001, 64)}

Item = tuple[str, int, tuple[int, ...], bytes]


def plain_items(arrays: Mapping[str, Any]) -> list[Item]:
    """The settings as bytes, all else as float32."""
    return [
        (name, INT8 if array.dtype == np.int8 else FLOAT32, array.shape, array.tobytes())
        for name, array in arrays.items()
    ]


def intgemm8_items(
    arrays: Mapping[str, Any], processor: str | None = None, firefox: bool = False
) -> tuple[list[Item], dict[str, Any]]:
    """Matrices in 8 bits, with their scale after them, and what they stand for.

    Args:
        processor: whose registers the layout is for
        firefox: embeddings too, and the scales of activations
    """
    items: list[Item] = []
    rounded = dict(arrays)
    for name, array in arrays.items():
        is_embedding = name.endswith("Wemb")
        if not ((is_embedding and firefox) or re.fullmatch(r".*_W(.|)", name)):
            items += plain_items({name: array})
            continue
        scale = np.float32(127 / np.abs(array).max())
        numbers = np.rint(array * scale).astype(np.int8)
        rounded[name] = numbers / scale
        kind, stored = INTGEMM8, numbers if is_embedding else numbers.T
        if firefox:
            kind = FIREFOX_INTGEMM8
            items += plain_items({f"{name}_QuantMultA": np.full((1, 1), 127 / 8, np.float32)})
        elif processor:
            kind, register = REGISTERS[processor]
            stored = tiled(stored, register)
        items.append((name, kind, array.shape, stored.tobytes() + struct.pack("<f", scale)))
    if firefox:
        items += plain_items({"none_QuantMultA": np.full((1, 1), 127 / 8, np.float32)})
    return items, rounded


def tiled(rows: Any, register: int) -> Any:
    """As intgemm takes them: eight rows at a time, a register of each, one after the other."""
    streams: list[list[int]] = [[] for _ in range(8)]
    for number, row in enumerate(rows):
        streams[number % 8] += row.tolist()
    taken = [
        stream[start : start + register]
        for start in range(0, len(streams[0]), register)
        for stream in streams
    ]
    return np.array(taken, dtype=np.int8)


def write_bin(path: Path, items: list[Item], version: int = 1) -> None:
    """Write the items, each padded to 256 bytes."""
    padded = [(n, k, s, data + b"\0" * (-len(data) % 256)) for n, k, s, data in items]
    names = [name.encode() + b"\0" for name, *_ in items]
    header = struct.pack("<QQ", version, len(items))
    for name, (_, kind, shape, data) in zip(names, padded, strict=True):
        header += struct.pack("<QQQQ", len(name), kind, len(shape), len(data))
    header += b"".join(names)
    header += b"".join(struct.pack(f"<{len(shape)}i", *shape) for _, _, shape, _ in padded)
    offset = -(len(header) + 8) % 256
    header += struct.pack("<Q", offset) + b"\0" * offset
    path.write_bytes(header + b"".join(data for *_, data in padded))
