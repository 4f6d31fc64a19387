"""How far a translation is, on stderr."""

import datetime
import os
import stat
import sys
import time
from typing import BinaryIO

import click

_QUIET_SECONDS = 2.0
_LOG_SECONDS = 60.0


class Progress:
    """Lines done, lines per second and, of a file, the share done and the time left, on stderr.

    A terminal has one line, rewritten in place after two silent seconds, unless the output goes
    to the same terminal. Elsewhere there is a line a minute while the output is a file, so that
    the log of a long run says how far it is.
    """

    def __init__(
        self, *, output_is_stdout: bool, source: BinaryIO | None = None, done: int = 0
    ) -> None:
        """source: the file that is read; done: lines of it that an earlier run translated."""
        terminal = sys.stderr.isatty()
        shares_terminal = output_is_stdout and sys.stdout.isatty()
        self._rewrites = terminal
        self._visible = not shares_terminal if terminal else not output_is_stdout
        self._start = time.perf_counter()
        self._next = self._start + (_QUIET_SECONDS if terminal else _LOG_SECONDS)
        self._lines = self._before = done
        self._source, self._size = source, 0 if source is None else _size(source)
        self._first = self._share()
        self._width = 0

    def add(self, lines: int) -> None:
        """Count more lines as done."""
        self._lines += lines
        now = time.perf_counter()
        if not self._visible or now < self._next:
            return
        text = self._text(now - self._start)
        if self._rewrites:
            click.echo("\r" + text.ljust(self._width), nl=False, err=True)
            self._width = len(text)
        else:
            click.echo(text, err=True)
            self._next = now + _LOG_SECONDS

    def close(self) -> None:
        """End the line that was rewritten."""
        if self._width:
            click.echo(err=True)

    def _text(self, seconds: float) -> str:
        speed = (self._lines - self._before) / seconds
        text = f"{self._lines} lines, {speed:.1f} lines/s"
        share = self._share()
        if share <= self._first:
            return text
        left = round(seconds * (1 - share) / (share - self._first))
        return f"{text}, {share:.0%}, {datetime.timedelta(seconds=left)} left"

    def _share(self) -> float:
        """Of the file's bytes, compressed as they are, what has been read."""
        if self._source is None or not self._size:
            return 0.0
        return min(self._source.tell() / self._size, 1.0)


def _size(source: BinaryIO) -> int:
    """Bytes of a regular file; 0 where there is no telling."""
    try:
        facts = os.fstat(source.fileno())
    except OSError:
        return 0
    return facts.st_size if stat.S_ISREG(facts.st_mode) else 0
