"""stdin, stdout and stderr as they come: closed, full, or in an encoding that lacks characters."""

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any, Literal

import click

from tfm.runtime.files.display import printable

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_NAMES = {"<stdin>": "stdin", "<stdout>": "stdout", "<stderr>": "stderr"}


def prepare() -> None:
    """Let every command use the three streams without looking at them first.

    Text that stdout or stderr cannot encode is escaped. A closed stdin or stdout is an OSError once
    it is used, and no file that is opened later takes its number; with a closed stderr, messages
    are lost, as they are with one that is full.
    """
    for descriptor, flags in (
        (_STDIN, os.O_WRONLY),  # the wrong way round: EBADF, as from a closed one
        (_STDOUT, os.O_RDONLY),
        (_STDERR, os.O_WRONLY),
    ):
        try:
            os.fstat(descriptor)
        except OSError:
            _open_null(descriptor, flags)
    if sys.stdin is None:
        sys.stdin = _text_stream(_STDIN, "r")
    if sys.stdout is None:
        sys.stdout = _text_stream(_STDOUT, "w")
    encoding = "utf-8" if sys.stderr is None else sys.stderr.encoding
    if sys.stderr is None or os.name == "posix":  # the console of Windows is no plain file
        file = io.BufferedWriter(_LossyFile(_STDERR, "w", closefd=False))
        sys.stderr = io.TextIOWrapper(file, encoding, line_buffering=True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def stdout_fails() -> bool:
    """Whether what is still to be written to stdout cannot be written; then it is forgotten.

    Python would try once more at its end, and print a traceback.
    """
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            _open_null(sys.stdout.fileno(), os.O_WRONLY)
        return True
    return False


def stream_name(name: object) -> str:
    """What errors call a stream."""
    return _NAMES.get(str(name), str(name))


@contextlib.contextmanager
def log_on_stderr() -> Iterator[None]:
    """Within it, warnings of the library are lines on stderr where no handler takes them."""
    before = logging.lastResort
    logging.lastResort = LogLines(logging.WARNING)
    try:
        yield
    finally:
        logging.lastResort = before


class _LossyFile(io.FileIO):
    """A file for messages: when one cannot be written, the work that it is about goes on."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


class LogLines(logging.Handler):
    """Writes each record as one line on stderr, whatever stderr is by then."""

    def emit(self, record: logging.LogRecord) -> None:
        text = printable(record.getMessage())
        click.echo(f"Warning: {text}" if record.levelno >= logging.WARNING else text, err=True)


def _text_stream(descriptor: int, mode: Literal["r", "w"]) -> io.TextIOWrapper:
    return open(descriptor, mode, encoding="utf-8", closefd=False)


def _open_null(descriptor: int, flags: int) -> None:
    null = os.open(os.devnull, flags)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)
    os.set_inheritable(descriptor, True)
