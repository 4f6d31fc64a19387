"""Lines of UTF-8 text from files and streams, plain, .xz or .gz."""

import io
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any, Protocol

from tfm.runtime.errors import TfmError

# One read takes what is there, up to this: a whole chunk of a file, one line of a terminal.
CHUNK_BYTES = 1 << 16
BYTE_ORDER_MARK = "\ufeff"


class Readable(Protocol):
    """What bytes come from: a file, a pipe, a terminal."""

    def read1(self, size: int = -1, /) -> bytes:
        """At most size bytes, as soon as there are some; none at the end."""


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file one after another, without their ends (LF or CRLF).

    A file that ends in .xz or .gz is decompressed. A byte order mark at the start is left out.

    Raises:
        TfmError: the file is missing, cannot be read or decompressed, or a line is not UTF-8
    """
    try:
        with path.open("rb") as file:
            first = True
            for chunk in read_chunks(unpacked(file, str(path)), str(path)):
                for line in chunk:
                    yield line.removeprefix(BYTE_ORDER_MARK) if first else line
                    first = False
    except FileNotFoundError as error:
        raise TfmError(f"{path}: not found") from error
    except OSError as error:
        raise TfmError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_chunks(stream: Readable, name: str) -> Iterator[list[str]]:
    """Lines of a UTF-8 stream without their ends (LF or CRLF), as many as each read brings.

    Raises:
        TfmError: a line is not UTF-8
    """
    number = 0
    rest = b""
    ended = False
    while not ended:
        data = stream.read1(CHUNK_BYTES)
        ended = not data
        *raw, rest = (rest + data).split(b"\n")
        if ended and rest:
            raw = [rest]
        chunk = []
        wrong: TfmError | None = None
        for line in raw:
            number += 1
            try:
                chunk.append(line.removesuffix(b"\r").decode("utf-8"))
            except UnicodeDecodeError as error:
                byte = f"byte {line[error.start]:#04x}"
                wrong = TfmError(f"{name}, line {number} is not UTF-8 ({byte}): convert the file")
                break
        if chunk:
            yield chunk
        if wrong is not None:
            raise wrong


def unpacked(stream: Any, name: str) -> Readable:
    """The decompressed bytes of a file. Its suffix says how: .xz or .gz.

    Raises:
        TfmError: this Python cannot decompress it; reading it raises TfmError if it is damaged
    """
    suffix = PurePath(name).suffix
    try:
        if suffix == ".xz":
            import lzma  # not every Python was built with it

            return _Unpacked(lzma.open(stream), name, (lzma.LZMAError, EOFError))
        if suffix == ".gz":
            import gzip
            import zlib

            return _Unpacked(gzip.open(stream), name, (gzip.BadGzipFile, EOFError, zlib.error))
    except ImportError as error:
        raise TfmError(f"{name}: this Python has no {error.name}: decompress the file") from error
    plain: Readable = stream
    return plain


class _Unpacked:
    """A decompressed stream that turns damage into a TfmError."""

    def __init__(self, stream: Any, name: str, errors: tuple[type[Exception], ...]) -> None:
        # A few compressed bytes would give short reads, too short to sort into batches.
        self._stream = io.BufferedReader(stream, CHUNK_BYTES)
        self._name, self._errors = name, errors

    def read1(self, size: int = -1, /) -> bytes:
        try:
            return self._stream.read1(size)
        except self._errors as error:
            raise TfmError(f"{self._name} is damaged: {error}") from error
