"""Starts the worker processes and talks to them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from .errors import BenchError
from .systems import System
from .workload import Cell

# Libraries read these when they are loaded, so they have to be set before the process starts.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Worker:
    """A process that has one system loaded.

    It is suspended while it has nothing to do: threads that wait for work in a busy loop would slow
    the next system down.

    Attributes:
        system: what it runs
        import_s: seconds to import the engine
        load_s: seconds to load the model
    """

    def __init__(self, system: System, log: Path, *, load: bool = True) -> None:
        """Start and load; log is a new file for what the process writes to stderr.

        Args:
            load: without it the process can `work` and measure `speeds` only

        Raises:
            BenchError: it died
        """
        self.system = system
        self._log = log
        names = THREAD_VARIABLES if system.threads else ()
        threads = dict.fromkeys(names, str(system.threads))
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tfm_bench.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                encoding="utf-8",
                env={**os.environ, **threads, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"},
            )
        self.import_s = self.load_s = 0.0
        if not load:
            return
        try:
            answer = self._ask({"do": "load", "system": system.to_json()})
        except BaseException:
            self.close()
            raise
        self.import_s, self.load_s = answer["import_s"], answer["load_s"]

    def translate(self, cell: Cell, *, repeats: int = 1, ids: bool = False) -> dict[str, Any]:
        """`seconds` and `cpu_seconds` (means of the repeats), `tokens`, `ids` where asked for."""
        return self._ask({"do": "translate", **_request(cell), "repeats": repeats, "ids": ids})

    def work(self, cell: Cell) -> dict[str, Any]:
        """operators.Work of our runtime, as JSON."""
        return self._ask({"do": "work", "system": self.system.to_json(), **_request(cell)})

    def speeds(self, working_set: int) -> dict[str, Any]:
        """speeds.Speeds of this machine, as JSON."""
        return self._ask({"do": "speeds", "working_set": working_set})

    def peak_memory(self) -> float:
        """MB."""
        return float(self._ask({"do": "memory"})["peak_mb"])

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        self._signal("SIGCONT")
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise BenchError(self._failure())
        self._signal("SIGSTOP")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _signal(self, name: str) -> None:
        if hasattr(signal, name):
            self._process.send_signal(getattr(signal, name))

    def _failure(self) -> str:
        status = self._process.wait()
        lines = self._log.read_text("utf-8", "replace").strip().splitlines()
        last = lines[-1].strip() if lines else "it wrote nothing to stderr"
        return f"{self.system.label}: its worker ended with status {status}: {last}"


def _request(cell: Cell) -> dict[str, Any]:
    return {
        "sources": cell.sources,
        "batch": cell.batch,
        "beam": cell.beam,
        "length": cell.length,
    }


@contextmanager
def running(
    systems: Sequence[System], folder: Path, *, load: bool = True
) -> Iterator[list[Worker]]:
    """A worker for each system, loaded or not; all of them are gone afterwards.

    Raises:
        BenchError: one of them died
    """
    workers: list[Worker] = []
    try:
        for number, system in enumerate(systems):
            workers.append(Worker(system, folder / f"worker-{number}.log", load=load))
        yield workers
    finally:
        for worker in workers:
            worker.close()


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end the workers and remove temporary files, as Ctrl-C does."""

    def leave(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
