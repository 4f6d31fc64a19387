"""Lines of text in and out of the command line: UTF-8, in order, as soon as they are there."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import click

from .errors import TfmError

# One read takes what is there, up to this: a whole chunk of a file, one line of a terminal.
CHUNK_BYTES = 1 << 16
_QUIET_SECONDS = 2.0


class _Readable(Protocol):
    def read1(self, size: int = -1, /) -> bytes: ...


def read_chunks(stream: _Readable, name: str) -> Iterator[list[str]]:
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


@contextlib.contextmanager
def open_output(path: Path | None) -> Iterator[BinaryIO]:
    """Where lines go: stdout, or a file that appears complete or not at all.

    A file is written beside its place as `path.part` and moved there at the end. After a
    failure what `path` held is still there, and so is the part.
    """
    if path is None or str(path) == "-":
        yield sys.stdout.buffer
        return
    if path.exists() and not path.is_file():  # a device or a pipe: nothing to replace
        with path.open("wb") as stream:
            yield stream
        return
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as stream:
            yield stream
    except BaseException:
        if part.exists() and part.stat().st_size:
            click.echo(f"What was translated so far is in {part}", err=True)
        else:
            part.unlink(missing_ok=True)
        raise
    os.replace(part, path)


def write_line(stream: BinaryIO, text: str) -> None:
    """Write one line; a line break that a translation holds becomes a space."""
    stream.write(" ".join(text.splitlines()).encode("utf-8") + b"\n")


class Progress:
    """Lines done and lines per second on stderr, rewritten in place, while it is a terminal.

    Stays silent for the first two seconds, and when the output goes to the same terminal.
    """

    def __init__(self, *, output_is_stdout: bool) -> None:
        shares_terminal = output_is_stdout and sys.stdout.isatty()
        self._visible = sys.stderr.isatty() and not shares_terminal
        self._start = time.perf_counter()
        self._lines = 0
        self._shown = False

    def add(self, lines: int) -> None:
        """Count more lines as done."""
        self._lines += lines
        seconds = time.perf_counter() - self._start
        if self._visible and seconds > _QUIET_SECONDS:
            self._shown = True
            text = f"\r{self._lines} lines, {self._lines / seconds:.1f} lines/s"
            click.echo(text, nl=False, err=True)

    def close(self) -> None:
        """End the line that was rewritten."""
        if self._shown:
            click.echo(err=True)
