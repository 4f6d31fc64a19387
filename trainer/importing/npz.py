"""Arrays of an .npz file, each checked before memory is taken for it.

An .npz is a zip file of .npy members (NEP 1). Nothing is unpickled: an array of objects is refused.
"""

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tfm.runtime.files.regular import open_regular
from tfm.trainer.errors import TrainError

MOST_EXPANSION = 64  # uncompressed bytes per byte of the file; floats shrink to about 9 tenths
KINDS = "fiu"  # floating point and whole numbers

Arrays = dict[str, NDArray[Any]]


def read_npz(path: Path) -> Arrays:
    """All arrays of a file by name.

    Raises:
        TrainError: no such file, no .npz, a damaged one, an array of something else than numbers,
            or one that claims to be larger than what is stored
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            size = path.stat().st_size
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if total > MOST_EXPANSION * size:
                raise TrainError(
                    f"{path}: {size} bytes that claim to hold {total}: not a model's weights"
                )
            return {
                member.filename.removesuffix(".npy"): _read_member(archive, member, path)
                for member in members
            }
    except FileNotFoundError as error:
        raise TrainError(f"{path}: not found") from error
    except OSError as error:
        raise TrainError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError) as error:
        raise TrainError(f"{path}: damaged, or no .npz: {error}") from error
    except (NotImplementedError, RuntimeError, zlib.error) as error:
        # An unknown compression, a password, damaged compressed data.
        raise TrainError(f"{path}: cannot be unpacked: {error}") from error


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> NDArray[Any]:
    where = f"{path}: {member.filename!r}"
    with archive.open(member) as file:
        shape, fortran_order, kind = _read_header(file, where)
        if kind.hasobject or kind.kind not in KINDS:
            raise TrainError(f"{where} holds {kind}: an array of numbers is needed")
        needed = math.prod(shape) * kind.itemsize
        if needed > member.file_size:
            raise TrainError(
                f"{where} is {list(shape)} of {kind}, {needed} bytes, and {member.file_size} are "
                "stored"
            )
        content = file.read(needed + 1)
    if len(content) != needed:
        raise TrainError(f"{where} has not the {needed} bytes of {list(shape)} {kind}")
    array = np.frombuffer(content, dtype=kind)
    return array.reshape(shape, order="F" if fortran_order else "C")


def _read_header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    readers = {(1, 0): np.lib.format.read_array_header_1_0}
    readers[2, 0] = np.lib.format.read_array_header_2_0
    try:
        version = np.lib.format.read_magic(file)
        if version not in readers:
            raise TrainError(f"{where}: version {version} of .npy is not known")
        shape, fortran_order, kind = readers[version](file)
    except (ValueError, SyntaxError, RecursionError, OverflowError, TypeError) as error:
        raise TrainError(f"{where}: no .npy array: {error}") from error
    if any(type(size) is not int or size < 0 for size in shape):
        raise TrainError(f"{where} has the shape {shape}")
    return shape, fortran_order, kind
