"""Starts reporter.py in a process of its own, and reads what it says."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfm.runtime.files.display import printable

LONGEST_SECONDS = 600.0
_LONGEST_ERROR = 300  # characters
# The other process finds packages where this one does, whatever Python adds to its path.
_START = (
    "import sys; paths = int(sys.argv[1]); sys.path[:] = sys.argv[2 : 2 + paths]\n"
    "from tfm.runtime.doctor.reporter import main; main(sys.argv[2 + paths :])"
)


@dataclass(frozen=True, slots=True)
class Experiment:
    """What a process did until it ended.

    Attributes:
        reports: in their order; each has its kind as "step"
        error: how it ended, in one line; "" if well
    """

    reports: list[dict[str, Any]]
    error: str

    def of(self, step: str) -> list[dict[str, Any]]:
        """The reports of a kind."""
        return [report for report in self.reports if report["step"] == step]

    def last(self, step: str) -> dict[str, Any] | None:
        """The last report of a kind."""
        return next(iter(self.of(step)[::-1]), None)

    @property
    def last_begun(self) -> str:
        """What it was doing at the end."""
        begun = self.last("begin")
        return "starting Python" if begun is None else str(begun["what"])


def run(*task: str, timeout: float = LONGEST_SECONDS) -> Experiment:
    """Have another process do a task of reporter.py, and wait for its end."""
    try:
        with tempfile.TemporaryDirectory(prefix="tfm-", ignore_cleanup_errors=True) as folder:
            return _run(Path(folder), task, timeout)
    except OSError as error:
        name = error.filename or sys.executable or "Python"
        return Experiment([], f"cannot start another process: {name}: {error.strerror or error}")


def _run(folder: Path, task: tuple[str, ...], timeout: float) -> Experiment:
    reports, output = folder / "reports", folder / "output"
    reports.touch()
    paths = [str(Path(path).absolute()) for path in sys.path]
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", _START, str(len(paths)), *paths, str(reports), *task],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env={**os.environ, "PYTHONFAULTHANDLER": ""},  # its pages would hide the reason
        )
        try:
            status: int | None = process.wait(timeout)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            process.kill()
            process.wait()
    printed = output.read_bytes().decode("utf-8", "replace")
    error = _ending(status, printed) if status is not None else f"no answer in {timeout:g} s"
    return Experiment(list(_parsed(reports.read_bytes())), error)


def _parsed(lines: bytes) -> Iterator[dict[str, Any]]:
    for line in lines.splitlines():
        try:
            report = json.loads(line)
        except ValueError:  # the last one, of a process that was killed
            continue
        if isinstance(report, dict) and "step" in report:
            yield report


def _ending(status: int, printed: str) -> str:
    """How a process ended: the last line of its traceback, or the signal."""
    if status == 0:
        return ""
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        return f"the process was ended by {name}"
    lines = [line for line in printed.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(Error|Exception|Exit)\b", line)]
    text = printable((errors or lines or [f"exit status {status}"])[-1].strip())
    return text if len(text) <= _LONGEST_ERROR else text[:_LONGEST_ERROR] + "..."
