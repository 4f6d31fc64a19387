"""Lines of UTF-8 text from files and streams, plain, .xz, .gz or .zst."""

import codecs
import io
import sys
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any, Protocol

from tfm.runtime.errors import TfmError

from .regular import open_regular

# One read takes what is there, up to this: a whole chunk of a file, one line of a terminal.
CHUNK_BYTES = 1 << 16
# Far more than any model reads of a line; without a limit one line could fill the memory.
MAX_LINE_BYTES = 1 << 20
# Also where files were joined: at the beginning of any line, or of any column.
_BYTE_ORDER_MARK = codecs.BOM_UTF8
_CONVERT = "convert the file"


class Readable(Protocol):
    """What bytes come from: a file, a pipe, a terminal."""

    def read1(self, size: int = -1, /) -> bytes:
        """At most size bytes, as soon as there are some; none at the end."""


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file one after another, without their ends (LF or CRLF).

    A file that ends in .xz, .gz or .zst is decompressed. Byte order marks are left out.

    Raises:
        TfmError: the file is missing, is no regular file, cannot be read or decompressed, or a
            line is not UTF-8 or too long
    """
    try:
        with open_regular(path) as file:
            for chunk in read_chunks(unpacked(file, str(path)), str(path)):
                yield from chunk
    except FileNotFoundError as error:
        raise TfmError(f"{path}: not found") from error
    except OSError as error:
        raise TfmError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_chunks(stream: Readable, name: str, advice: str = _CONVERT) -> Iterator[list[str]]:
    """Lines of a UTF-8 stream without their ends (LF or CRLF), as many as each read brings.

    A byte order mark is left out at the beginning of a line or of a column.

    Args:
        name: what errors call the stream
        advice: what to do with text that is not UTF-8

    Raises:
        TfmError: a line is not UTF-8, or longer than MAX_LINE_BYTES; the lines before it come first
    """
    number = 0
    for raw in _raw_lines(stream, name):
        chunk = []
        wrong: TfmError | None = None
        for line in raw:
            number += 1
            if len(line) > MAX_LINE_BYTES:
                wrong = TfmError(
                    f"{name}, line {number} is longer than {MAX_LINE_BYTES} bytes:"
                    " split it into sentences"
                )
                break
            try:
                chunk.append(_without_marks(line).removesuffix(b"\r").decode("utf-8"))
            except UnicodeDecodeError:
                wrong = _not_utf8(line, number, name, advice)
                break
        if chunk:
            yield chunk
        if wrong is not None:
            raise wrong


def _raw_lines(stream: Readable, name: str) -> Iterator[list[bytes]]:
    """Lines as bytes; one that is too long is the last, and not whole."""
    unfinished: list[bytes] = []  # the pieces of a line whose end has not been read yet
    size = 0
    while data := _read(stream, name):
        first, *others = data.split(b"\n")
        unfinished.append(first)
        size += len(first)
        if others or size > MAX_LINE_BYTES:
            yield [b"".join(unfinished), *others[:-1]]
            unfinished = others[-1:]
            size = sum(map(len, unfinished))
    if size:
        yield [b"".join(unfinished)]


def _read(stream: Readable, name: str) -> bytes:
    try:
        return stream.read1(CHUNK_BYTES)
    except OSError as error:
        error.filename = error.filename or name
        raise


def _without_marks(line: bytes) -> bytes:
    if _BYTE_ORDER_MARK not in line:
        return line
    return line.removeprefix(_BYTE_ORDER_MARK).replace(b"\t" + _BYTE_ORDER_MARK, b"\t")


def _not_utf8(line: bytes, number: int, name: str, advice: str) -> TfmError:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte {line[error.start]:#04x}"
    if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        found = "it begins as UTF-16 does"
    return TfmError(f"{name}, line {number} is not UTF-8 ({found}): {advice}")


def unpacked(stream: Any, name: str) -> Readable:
    """The decompressed bytes of a file. Its suffix says how: .xz, .gz or .zst.

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
        if suffix == ".zst":
            zstd = _zstd()
            return _Unpacked(zstd.open(stream), name, (zstd.ZstdError, EOFError))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("backports"):
            raise TfmError(f"{name}: to read it, pip install 'tfm[zst]'") from error
        raise TfmError(f"{name}: this Python has no {error.name}: decompress the file") from error
    except ImportError as error:
        raise TfmError(f"{name}: this Python has no {error.name}: decompress the file") from error
    plain: Readable = stream
    return plain


def _zstd() -> Any:
    """Python's own module, or what brings it to older ones."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


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
