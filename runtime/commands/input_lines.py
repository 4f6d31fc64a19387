"""Lines of text into the command line: UTF-8, in order, as soon as they are there."""

import io
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, Protocol

from tfm.runtime.errors import TfmError

# One read takes what is there, up to this: a whole chunk of a file, one line of a terminal.
CHUNK_BYTES = 1 << 16


class Readable(Protocol):
    """What bytes come from: a file, a pipe, a terminal."""

    def read1(self, size: int = -1, /) -> bytes:
        """At most size bytes, as soon as there are some; none at the end."""


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


def check_pairs(chunks: Iterator[list[str]], name: str) -> Iterator[list[str]]:
    """The same lines, each of which is source<TAB>target, and more columns where there are any.

    Raises:
        TfmError: a line has no tab
    """
    number = 0
    for chunk in chunks:
        for place, line in enumerate(chunk):
            if "\t" not in line:
                if place:
                    yield chunk[:place]
                raise TfmError(
                    f"{name}, line {number + place + 1}: no tab in {line[:40]!r};"
                    " --pairs expects source<TAB>target"
                )
        yield chunk
        number += len(chunk)


def unpacked(stream: Any, name: str) -> Readable:
    """The bytes of a file as they were before it was compressed, which its suffix tells: .xz or
    .gz.

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
    """A decompressed stream whose reads are full, and whose damage is a TfmError."""

    def __init__(self, stream: Any, name: str, errors: tuple[type[Exception], ...]) -> None:
        # By itself read1 gives what a few compressed bytes become: little to sort into batches.
        self._stream = io.BufferedReader(stream, CHUNK_BYTES)
        self._name, self._errors = name, errors

    def read1(self, size: int = -1, /) -> bytes:
        try:
            return self._stream.read1(size)
        except self._errors as error:
            raise TfmError(f"{self._name} is damaged: {error}") from error


def split_texts(texts: tuple[str, ...]) -> list[str]:
    """Lines of the texts given as arguments.

    Raises:
        TfmError: a text was not UTF-8 on the command line
    """
    for place, text in enumerate(texts, start=1):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise TfmError(f"TEXT {place} is not UTF-8: {text!r}") from error
    return [line.removesuffix("\r") for text in texts for line in text.split("\n")]


def one_line(text: str) -> str:
    """A text whose line breaks are spaces."""
    return " ".join(text.splitlines())
