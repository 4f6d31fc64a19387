"""Where `tfm run` writes: stdout, or a file that appears complete or not at all.

`out.txt` is written as `out.txt.part` and moved into its place at the end. `out.txt.part.json`
beside it, the journal, says what the part is made with and, after every chunk, how far it is. So
a run that is killed at any moment loses only the chunk in hand: the next one cuts the part to
what the journal has, and goes on from there. While a run writes, it holds a lock on the part, so
that no other writes the same file.
"""

import contextlib
import hashlib
import itertools
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import click

from tfm.runtime.errors import TfmError
from tfm.runtime.files.atomic import naming, write_text
from tfm.runtime.files.lock import try_lock
from tfm.runtime.files.regular import read_regular

_JOURNAL_BYTES = 1 << 20

# What decides the output besides the input, by the name a user knows it by.
Settings = Mapping[str, str | int | float | bool | list[int] | None]


@dataclass(frozen=True, slots=True)
class Journal:
    """How far a part is."""

    settings: dict[str, Any]
    lines: int = 0  # of the input, translated and in the part
    input_sha256: str = ""  # of these lines
    output_bytes: int = 0  # of the part, for these lines

    @classmethod
    def read(cls, path: Path) -> "Journal":
        """
        Raises:
            TfmError: it is missing or damaged
        """
        try:
            return cls(**json.loads(read_regular(path, _JOURNAL_BYTES)))
        except (FileNotFoundError, ValueError, TypeError, RecursionError) as error:
            state = "missing" if isinstance(error, FileNotFoundError) else "damaged"
            raise TfmError(
                f"{path} is {state}, and without it the part cannot be continued:"
                " leave out --resume to start anew"
            ) from error

    def write(self, path: Path) -> None:
        """Replace the file: whenever the process dies, it is the old one or the new one."""
        write_text(path, json.dumps(asdict(self), ensure_ascii=False))


class Output:
    """An open output.

    Attributes:
        lines: of the input, translated and written; those of an earlier run included
    """

    def __init__(self, stream: BinaryIO, files: "_Files | None" = None) -> None:
        self._stream, self._files = stream, files
        self._before = Journal({}) if files is None else files.journal
        self._digest = hashlib.sha256()
        self.lines = 0

    def skip(self, chunks: Iterator[list[str]], name: str) -> Iterator[list[str]]:
        """The chunks after the lines that an earlier run translated, which are read at once.

        Raises:
            TfmError: they are not the lines that it read
        """
        while self.lines < self._before.lines:
            chunk = next(chunks, None)
            if chunk is None:
                raise self._other_input(f"{name} has only {self.lines} lines")
            left = self._before.lines - self.lines
            self._count(chunk[:left])
            if chunk[left:]:
                chunks = itertools.chain([chunk[left:]], chunks)
        if self.lines and self._digest.hexdigest() != self._before.input_sha256:
            raise self._other_input(f"{name} begins with others")
        return chunks

    def write(self, line: str) -> None:
        """Write one line."""
        self._stream.write(line.encode("utf-8") + b"\n")

    def commit(self, chunk: list[str]) -> None:
        """Flush to the disk, and record these input lines as done."""
        self._stream.flush()
        self._count(chunk)
        if self._files is not None:
            # Before the journal: after a power failure too, the part has what the journal says.
            os.fsync(self._stream.fileno())
            Journal(
                self._files.journal.settings,
                self.lines,
                self._digest.hexdigest(),
                self._stream.tell(),
            ).write(self._files.journal_path)

    def _count(self, lines: list[str]) -> None:
        self.lines += len(lines)
        if self._files is not None:
            self._digest.update("".join(line + "\n" for line in lines).encode("utf-8"))

    def _other_input(self, found: str) -> TfmError:
        part = "" if self._files is None else self._files.part
        return TfmError(
            f"{part} holds the translations of {self._before.lines} lines, but {found}:"
            " give the same input, or leave out --resume to start anew"
        )


@dataclass(frozen=True, slots=True)
class _Files:
    part: Path
    journal_path: Path
    journal: Journal  # as it was found, or that of a new part


def part_of(path: Path) -> Path:
    """Where a file is written until it is complete."""
    return path.with_name(path.name + ".part")


def journal_of(path: Path) -> Path:
    """The path of the journal, which says how far the part is."""
    return path.with_name(path.name + ".part.json")


def is_complete(path: Path) -> bool:
    """Whether there is a file, and no part that could be continued."""
    return path.is_file() and not part_of(path).exists()


def finish(path: Path) -> None:
    """Remove what is left of a run that was killed after its last line."""
    journal_of(path).unlink(missing_ok=True)


@contextlib.contextmanager
def open_output(
    path: Path | None, settings: Settings | None = None, *, resume: bool = False
) -> Iterator[Output]:
    """Open stdout (None or "-"), a device or a pipe, or a file by way of its part.

    After a failure what `path` held is still there, and so is the part.

    Args:
        path: where to write in the end
        settings: what the output is made with
        resume: continue the part, if there is one

    Raises:
        TfmError: the part was made with other settings, its journal cannot be used, or another
            run writes it
    """
    if path is None or str(path) == "-":
        yield Output(sys.stdout.buffer)
        return
    if path.exists() and not path.is_file():  # a device or a pipe: nothing to replace
        with naming(path), path.open("wb") as stream:
            yield Output(stream)
        return

    part, journal_path = part_of(path), journal_of(path)
    with naming(part), _claimed(part, path) as stream:
        resume = resume and part.stat().st_size > 0
        journal = Journal(dict(settings or {}))
        if resume:
            journal = _resumable(part, journal_path, journal.settings)
        try:
            if not resume:
                journal.write(journal_path)  # first, so that it never describes an older part
            stream.seek(journal.output_bytes)
            stream.truncate()
            yield Output(stream, _Files(part, journal_path, journal))
        except BaseException:
            _keep_or_remove(part, journal_path)
            raise
        if os.name == "posix":  # while it is locked
            _put_in_place(part, journal_path, path)
    if os.name != "posix":  # where an open file cannot be renamed
        _put_in_place(part, journal_path, path)


def _put_in_place(part: Path, journal_path: Path, path: Path) -> None:
    os.replace(part, path)
    journal_path.unlink(missing_ok=True)


def _keep_or_remove(part: Path, journal_path: Path) -> None:
    """After a failure: keep what is in the part, if there is something."""
    if part.exists() and part.stat().st_size:
        click.echo(f"What was translated so far is in {part}; --resume continues it", err=True)
    else:
        part.unlink(missing_ok=True)
        journal_path.unlink(missing_ok=True)


@contextlib.contextmanager
def _claimed(part: Path, path: Path) -> Iterator[BinaryIO]:
    """The part, open and locked, its content as it was.

    Raises:
        TfmError: another run writes the same file
    """
    while True:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        with open(os.open(part, flags, 0o666), "r+b") as stream:
            if not try_lock(stream):
                raise _busy(part)
            if not _is_open_file(stream, part):
                continue  # the run that had it is over, and took it away
            if _is_locked(path):  # that run has put it in place, and is about to end
                part.unlink(missing_ok=True)
                raise _busy(part)
            yield stream
            return


def _is_open_file(stream: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return not try_lock(stream)
    except OSError:  # there is none, or it cannot be read
        return False


def _busy(part: Path) -> TfmError:
    return TfmError(
        f"{part} is being written by another `tfm run`: wait for it, or choose another output"
    )


def _resumable(part: Path, journal_path: Path, settings: dict[str, Any]) -> Journal:
    """The journal of a part that these settings continue."""
    journal = Journal.read(journal_path)
    for name in {**settings, **journal.settings}:
        before, value = journal.settings.get(name), settings.get(name)
        if before != value:
            raise TfmError(
                f"{part} was made with {_say(name, before)}, this run has {_say(name, value)}:"
                " give the same, or leave out --resume to start anew"
            )
    size = part.stat().st_size
    if size < journal.output_bytes:
        raise TfmError(
            f"{part} is damaged: {size} bytes, {journal_path} says {journal.output_bytes};"
            " leave out --resume to start anew"
        )
    return journal


def _say(name: str, value: object) -> str:
    if value is None or value is False:
        return f"no {name}"
    return name if value is True else f"{name} {value}"
