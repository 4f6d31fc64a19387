"""Mutants of a file that know nothing of what is in it: bytes, links, devices."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

LARGE = 1 << 30  # bytes

ByteChange = Callable[[bytearray, random.Random], str]


def flip_bits(data: bytearray, rng: random.Random) -> str:
    count = rng.choice((1, 1, 2, 8, 64))
    for _ in range(count):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return f"{count} bits flipped"


def cut(data: bytearray, rng: random.Random) -> str:
    length = rng.choice((0, 1, len(data) - 1, rng.randrange(len(data))))
    del data[length:]
    return f"cut to {length} bytes"


def extend(data: bytearray, rng: random.Random) -> str:
    count = rng.choice((1, 4096, len(data)))
    data += rng.randbytes(count)
    return f"{count} bytes more"


def overwrite(data: bytearray, rng: random.Random) -> str:
    begin = rng.randrange(len(data))
    end = min(len(data), begin + rng.choice((1, 4, 16, 256, 4096)))
    fill = rng.choice((b"\x00", b"\xff", b"\x7f", None))
    data[begin:end] = rng.randbytes(end - begin) if fill is None else fill * (end - begin)
    return f"bytes {begin} to {end} overwritten"


def remove_block(data: bytearray, rng: random.Random) -> str:
    begin = rng.randrange(len(data))
    end = begin + rng.choice((1, 2, 16, 1024))
    del data[begin:end]
    return f"bytes {begin} to {end} removed"


def repeat_block(data: bytearray, rng: random.Random) -> str:
    begin = rng.randrange(len(data))
    block = data[begin : begin + rng.choice((1, 16, 1024))]
    data[begin:begin] = block
    return f"{len(block)} bytes at {begin} repeated"


BYTE_CHANGES: tuple[ByteChange, ...] = (
    *(flip_bits, flip_bits, flip_bits, cut, extend, overwrite, overwrite),
    *(remove_block, repeat_block),
)


def missing(path: Path, _outside: Path) -> str:
    path.unlink()
    return "missing"


def folder_instead(path: Path, _outside: Path) -> str:
    path.unlink()
    path.mkdir()
    return "a folder instead"


def pipe_instead(path: Path, _outside: Path) -> str:
    path.unlink()
    os.mkfifo(path)
    return "a named pipe instead"


def link_to_device(path: Path, _outside: Path) -> str:
    path.unlink()
    path.symlink_to("/dev/zero")
    return "a link to /dev/zero instead"


def link_to_itself(path: Path, _outside: Path) -> str:
    path.unlink()
    path.symlink_to(path.name)
    return "a link to itself instead"


def link_to_outside(path: Path, outside: Path) -> str:
    """The right bytes, outside the folder."""
    shutil.copyfile(path, outside)
    path.unlink()
    path.symlink_to(outside)
    return "a link to a file outside instead"


def large_and_empty(path: Path, _outside: Path) -> str:
    """A large file that takes no room on the disk."""
    path.unlink()
    with path.open("wb") as file:
        file.truncate(LARGE)
    return "1 GiB of zeros instead"


REPLACEMENTS: tuple[Callable[[Path, Path], str], ...] = (
    *(missing, folder_instead, pipe_instead, link_to_device, link_to_itself, link_to_outside),
    large_and_empty,
)
