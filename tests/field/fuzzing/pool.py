"""Child processes that try things: they live long, have limits, and are replaced when they die."""

import contextlib
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from .child import LIMIT_BYTES, serve
from .verdicts import Outcome, signal_name

# A process that was used for long has grown, and tells less of what one trial takes.
TRIALS_PER_PROCESS = 400
STARTING_SECONDS = 60.0
WAITING = 6  # times the seconds that a trial may compute


@dataclass(frozen=True)
class Trial:
    """One thing to try.

    Attributes:
        name: of a function of child.py
        arguments: of that function
        about: whatever the caller wants to know of it afterwards; stays in the parent
    """

    name: str
    arguments: dict[str, Any]
    about: Any = None


class Pool:
    """Runs trials in child processes; as a context manager, it ends them.

    A child that dies or takes too long costs its own trial only.
    """

    def __init__(self, processes: int, seconds: float, folder: Path) -> None:
        """
        Args:
            processes: how many children
            seconds: a trial that computes for longer hangs; so does one that is not done after
                six times that, which a busy machine may need
            folder: for what the children print
        """
        self._seconds = seconds
        self._children = [_Child(folder / f"printed.{n}.txt") for n in range(processes)]

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.end()

    def run(self, trials: Iterable[Trial]) -> Iterator[tuple[Trial, Outcome]]:
        """Every trial with its outcome, in the order in which they end."""
        waiting = iter(trials)
        ended = False
        while True:
            for child in self._children:
                if child.trial is None and not ended:
                    trial = next(waiting, None)
                    ended = trial is None
                    if trial is not None:
                        child.begin(trial, self._seconds)
            busy = [child for child in self._children if child.trial is not None]
            if not busy:
                return
            now = time.monotonic()
            nearest = min(child.deadline for child in busy)
            wait([child.connection for child in busy], max(0.0, nearest - now))
            for child in busy:
                trial = child.trial
                outcome = child.outcome()
                if outcome is not None and trial is not None:
                    yield trial, outcome


class _Child:
    def __init__(self, printed: Path) -> None:
        self._printed = printed
        self._context = multiprocessing.get_context("spawn")
        self._process: Any = None
        self._done = 0
        self.connection: Connection[Any, Any]
        self.trial: Trial | None = None
        self.deadline = 0.0
        self._phase = "load"

    def begin(self, trial: Trial, seconds: float) -> None:
        if self._process is not None and (
            self._done >= TRIALS_PER_PROCESS or _address_space(self._process.pid) > LIMIT_BYTES // 4
        ):
            self.end()  # what earlier trials left must not cost this one its memory
        if self._process is None:
            self._start()
        self.trial, self._phase = trial, "load"
        self._done += 1
        self._seconds, self._computed = seconds, _computed(self._process.pid)
        self._began = time.monotonic()
        self.deadline = self._began + seconds
        with contextlib.suppress(OSError):  # if it is dead, outcome() says so
            self.connection.send((trial.name, trial.arguments))

    def outcome(self) -> Outcome | None:
        """What came of the trial, or None while it runs."""
        try:
            while self.connection.poll():
                message = self.connection.recv()
                if isinstance(message, str):
                    self._phase = message
                    continue
                self.trial = None
                return message  # type: ignore[no-any-return]
        except (EOFError, OSError):
            self._process.join()
            return self._failed("crash", signal_name(self._process.exitcode))
        now = time.monotonic()
        if now < self.deadline:
            return None
        computed = _computed(self._process.pid) - self._computed
        if computed < self._seconds and now < self._began + WAITING * self._seconds:
            self.deadline = now + 0.2
            return None
        return self._failed("hang", f"over {self._seconds:.0f} s")

    def end(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.join()
        self.connection.close()
        self._process = None
        self._printed.unlink(missing_ok=True)

    def _failed(self, status: str, message: str) -> Outcome:
        self._process.kill()
        self._process.join()
        noise = self._printed.read_text("utf-8", "replace") if self._printed.exists() else ""
        seconds = time.monotonic() - self._began
        self.end()
        self.trial = None
        return Outcome(status, self._phase, message, noise=noise[-2000:], seconds=seconds)

    def _start(self) -> None:
        self.connection, theirs = self._context.Pipe()
        self._process = self._context.Process(
            target=serve, args=(theirs, str(self._printed), LIMIT_BYTES), daemon=True
        )
        self._process.start()
        theirs.close()
        self._done = 0
        if not self.connection.poll(STARTING_SECONDS):
            raise TimeoutError("a child process does not start")
        self.connection.recv()


def _computed(pid: int) -> float:
    """Seconds of processor time that a process has used; 0 where it is not known."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _address_space(pid: int) -> int:
    """Bytes of address space of a process; 0 where it is not known."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[0])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
