"""A folder of files of tables to translate into another folder: what is to do, what is done.

The output has a file for each of the input, under the same relative path. A task translates a
piece of a file into a part of its own, beside the output in a hidden folder; when all parts of a
file are there, they are joined, and the file appears whole under its name. Whatever dies at
whatever moment, the next run finds finished files and parts, and goes on from there.

`_tfm.json` in the output says with what the files were made, and from which state of the input.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tfm.runtime.errors import TfmError
from tfm.runtime.files.atomic import write_text
from tfm.runtime.files.lock import try_lock
from tfm.runtime.files.regular import read_regular

from .pieces import FORMATS, READ_ERRORS, Counts, Piece, write_whole
from .table_translator import TableTranslator

JOURNAL = "_tfm.json"  # readers of folders of Parquet pass over names with _ or . at the beginning
PARTS = ".tfm-parts"
_LOCK = ".tfm-lock"
_MOST_JOURNAL_BYTES = 1 << 28
_ANEW = "--overwrite makes everything anew"


@dataclass(frozen=True, slots=True)
class PieceTask:
    """A piece to translate.

    Attributes:
        path: of the file that it is of
        begin, end: as Piece has them
        parts: the folder for what becomes of it
    """

    path: str
    begin: int
    end: int
    parts: str

    def run(self, translator: TableTranslator) -> Counts:
        """Translate it, unless that has been done.

        Raises:
            OSError, TfmError, ValueError, KeyError, TypeError: it cannot be
        """
        if (done := self.find()) is not None:
            return done[1]
        path, folder = Path(self.path), Path(self.parts)
        folder.mkdir(parents=True, exist_ok=True)
        made: list[Counts] = []
        part = folder / f"{self._stem}{path.suffix}"
        piece = Piece(self.begin, self.end)
        writer = FORMATS[path.suffix].translate
        write_whole(part, lambda to: made.append(writer(path, piece, translator, to)))
        named = f"{self._stem}_{made[0].rows}_{made[0].errors}{path.suffix}"
        os.replace(part, part.with_name(named))
        return made[0]

    def find(self) -> tuple[Path, Counts] | None:
        """The part, if it has been made, and its counts, which are in its name."""
        suffix = Path(self.path).suffix
        for path in Path(self.parts).glob(f"{self._stem}_*{suffix}"):
            _, rows, errors = path.name.removesuffix(suffix).split("_")
            return path, Counts(int(rows), int(errors))
        return None

    @property
    def _stem(self) -> str:
        return f"{self.begin}-{self.end}"


@dataclass(slots=True)
class FileInHand:
    """A file that is not finished."""

    source: Path
    output: Path
    state: dict[str, int]
    tasks: list[PieceTask]
    left: set[PieceTask]


class FolderJob:
    """What is to do in a folder, and what is done.

    Attributes:
        tasks: of all files, those done in an earlier run left out
        finished: files that an earlier run finished
        counts: of all files that are finished, by relative path
        failed: what went wrong, by relative path
    """

    def __init__(
        self,
        source: Path,
        output: Path,
        translator: TableTranslator,
        settings: Mapping[str, Any],
        *,
        rows_per_task: int,
        overwrite: bool = False,
    ) -> None:
        """Look at both folders. Nothing is written yet; with `overwrite`, old parts are deleted.

        Args:
            source: a folder, whose folders are looked into as well, or a file
            settings: what decides the output besides the input
            rows_per_task: about how many rows a piece has

        Raises:
            TfmError: there is nothing to translate, or the output is of another job
        """
        self.source, self.output = source.absolute(), output.absolute()
        self.counts: dict[str, Counts] = {}
        self.failed: dict[str, str] = {}
        self.tasks: list[PieceTask] = []
        self.finished = 0
        self._settings, self._translator = dict(settings), translator
        self._overwrite = overwrite
        self._unfinished: set[str] = set()  # outputs that a job may make or replace
        self._journal = {} if overwrite else self._read_journal()
        self._in_hand: dict[str, FileInHand] = {}
        for path in self._input_files():
            self._plan(path, rows_per_task)

    def done(self, task: PieceTask, counts: Counts) -> None:
        """Note that a task is done; the last one of a file makes the file."""
        name = self._name(Path(task.path))
        file = self._in_hand.get(name)
        if file is None:
            return
        file.left.discard(task)
        if not file.left:
            self._finish(name, file)

    def fail(self, task: PieceTask, error: str) -> None:
        """Note that a task cannot be done: its file stays unfinished."""
        name = self._name(Path(task.path))
        self.failed.setdefault(name, error)
        self._in_hand.pop(name, None)

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Make the output folder, and hold a lock on it; at the end, parts that are of no use any
        more are deleted.

        Raises:
            TfmError: another process writes there
        """
        self.output.mkdir(parents=True, exist_ok=True)
        lock_path = self.output / _LOCK
        with lock_path.open("ab") as lock:
            if not try_lock(lock):
                raise TfmError(f"{self.output}: another process is writing it")
            try:
                # First: a run that dies may leave a file that is not in the journal yet.
                self._unfinished |= self._in_hand.keys()
                self._write_journal()
                for name, file in list(self._in_hand.items()):
                    if not file.left:
                        self._finish(name, file)
                yield
                if not self.failed and not self._in_hand:
                    shutil.rmtree(self.output / PARTS, ignore_errors=True)
            finally:
                lock_path.unlink(missing_ok=True)

    def _input_files(self) -> list[Path]:
        if self.output == self.source or self.source in self.output.parents:
            raise TfmError(f"{self.output} is in {self.source}, which is read: choose another")
        kinds = " or ".join(FORMATS)
        if self.source.is_file():
            if self.source.suffix not in FORMATS:
                raise TfmError(f"{self.source}: expected a folder, or a file of {kinds}")
            return [self.source]
        paths = sorted(
            path
            for path in self.source.rglob("*")
            if path.suffix in FORMATS and path.is_file() and not _is_hidden(path, self.source)
        )
        if not paths:
            raise TfmError(f"{self.source} has no files of {kinds}")
        return paths

    def _plan(self, path: Path, rows_per_task: int) -> None:
        name = self._name(path)
        output = self.output / name
        if output.exists() and output.samefile(path):
            raise TfmError(f"{output} is read, and would be overwritten: choose another output")
        facts = path.stat()
        state = {"bytes": facts.st_size, "mtime_ns": facts.st_mtime_ns}
        before = self._journal.get(name)
        if before is not None and output.is_file():
            if {key: before[key] for key in state} != state:
                raise TfmError(f"{path} was changed after {output} was made: {_ANEW}")
            self.counts[name] = Counts(before["rows"], before["errors"])
            self.finished += 1
            return
        if output.exists() and not self._overwrite and name not in self._unfinished:
            raise TfmError(f"{output} is there, and is of no earlier run: {_ANEW}")
        try:
            pieces = FORMATS[path.suffix].split(path, self._translator.column, rows_per_task)
        except READ_ERRORS as error:
            self.failed[name] = str(error)
            return
        kept = json.dumps([self._settings, state, rows_per_task], sort_keys=True)
        parts = self.output / PARTS / hashlib.sha256(kept.encode()).hexdigest()[:16] / name
        if self._overwrite:
            shutil.rmtree(parts, ignore_errors=True)
        tasks = [PieceTask(str(path), piece.begin, piece.end, str(parts)) for piece in pieces]
        left = [task for task in tasks if task.find() is None]
        self._in_hand[name] = FileInHand(path, output, state, tasks, set(left))
        self.tasks += left

    def _finish(self, name: str, file: FileInHand) -> None:
        found = [part for task in file.tasks if (part := task.find()) is not None]
        if len(found) < len(file.tasks):
            raise TfmError(f"{file.output}: parts of it were deleted: start again")
        paths: Sequence[Path] = [path for path, _ in found]
        file.output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file.output, lambda to: FORMATS[file.source.suffix].join(paths, to))
        counts = Counts(sum(c.rows for _, c in found), sum(c.errors for _, c in found))
        self.counts[name] = counts
        self._journal[name] = {**file.state, **asdict(counts)}
        self._unfinished.discard(name)
        self._write_journal()
        del self._in_hand[name]
        for path in paths:
            path.unlink(missing_ok=True)

    def _name(self, path: Path) -> str:
        if path == self.source:
            return path.name
        return path.relative_to(self.source).as_posix()

    def _read_journal(self) -> dict[str, Any]:
        """Finished files by relative path."""
        path = self.output / JOURNAL
        try:
            journal = json.loads(read_regular(path, _MOST_JOURNAL_BYTES))
            settings, files = journal["settings"], dict(journal["files"])
            self._unfinished = set(journal["unfinished"])
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError) as error:
            raise TfmError(f"{path} is damaged: {_ANEW}") from error
        for key in settings.keys() | self._settings.keys():
            if settings.get(key) != self._settings.get(key):
                raise TfmError(
                    f"{self.output} was made with {key} {settings.get(key)!r}, now it is"
                    f" {self._settings.get(key)!r}: choose another folder, or {_ANEW}"
                )
        return files

    def _write_journal(self) -> None:
        journal = {
            "settings": self._settings,
            "files": self._journal,
            "unfinished": sorted(self._unfinished),
        }
        write_text(self.output / JOURNAL, json.dumps(journal, indent=1, ensure_ascii=False))


def _is_hidden(path: Path, below: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.relative_to(below).parts)
