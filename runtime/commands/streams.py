"""stdin, stdout and stderr as they come: closed, full, or in an encoding that lacks characters."""

import contextlib
import io
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import click

from tfm.runtime.files.display import printable

STDIN, STDOUT = "stdin", "stdout"  # in errors
MOST_REPEATS = 5
_STDIN, _STDOUT, _STDERR = 0, 1, 2


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
    if sys.stderr is None:
        sys.stderr = _text_stream(_STDERR, "w")
    if os.name == "posix":  # the console of Windows is no plain file
        sys.stdout = _over(_Stdout(_STDOUT, "w", closefd=False), sys.stdout)
        sys.stderr = _over(_Stderr(_STDERR, "w", closefd=False), sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_stdout() -> None:
    """Forget what could not be written: Python would try again at its end, and say so."""
    with contextlib.suppress(OSError):
        _open_null(sys.stdout.fileno(), os.O_WRONLY)


def stdin_name(stream: object) -> str:
    """What errors call a stream that may be stdin."""
    name = getattr(stream, "name", STDIN)
    return STDIN if name in ("<stdin>", _STDIN) else str(name)


@contextlib.contextmanager
def log_on_stderr() -> Iterator[None]:
    """Within it, warnings of the library are lines on stderr where no handler takes them."""
    before = logging.lastResort
    logging.lastResort = LogLines(logging.WARNING)
    try:
        yield
    finally:
        logging.lastResort = before


class _Stdout(io.FileIO):
    """Says in an error what could not be written to."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = STDOUT
            raise


class _Stderr(io.FileIO):
    """Where a message cannot be written, the work that it is about goes on."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def _over(file: io.FileIO, before: Any) -> io.TextIOWrapper:
    """A text stream that writes to this file as the one before did."""
    return io.TextIOWrapper(
        io.BufferedWriter(file), before.encoding, line_buffering=before.line_buffering
    )


class LogLines(logging.Handler):
    """Writes each record as one line on stderr, whatever stderr is by then.

    A warning that comes with every chunk of a long text is written a few times only.
    """

    def __init__(self, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._times: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        text = printable(record.getMessage())
        if record.levelno >= logging.WARNING:
            kind = str(record.msg)  # without the numbers that are filled in
            self._times[kind] += 1
            if self._times[kind] > MOST_REPEATS:
                return
            more = " (more of these are not shown)" if self._times[kind] == MOST_REPEATS else ""
            text = f"Warning: {text}{more}"
        click.echo(text, err=True)


def _text_stream(descriptor: int, mode: Literal["r", "w"]) -> io.TextIOWrapper:
    return open(descriptor, mode, encoding="utf-8", closefd=False)


def _open_null(descriptor: int, flags: int) -> None:
    null = os.open(os.devnull, flags)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)
    os.set_inheritable(descriptor, True)
