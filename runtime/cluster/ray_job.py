"""Runs the tasks of a FolderJob on the actors of Ray Data, in this machine or in a cluster."""

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

from tfm.runtime.errors import TfmError

from .folder_job import PieceTask
from .pieces import READ_ERRORS, Counts
from .table_translator import TableTranslator

_MOST_BLOCKS = 10_000
_LONGEST_FOLDER = 40  # characters
_CONNECT_SECONDS = 10
_STORE_BYTES = 100 << 20  # Ray's shared memory, which only gets names of tasks and counts here


@dataclass(frozen=True, slots=True)
class Actors:
    """Who works.

    Attributes:
        number: of processes, each with a model of its own
        threads: of each
        address: of a running cluster, such as "auto" or "ray://head:10001"; None starts Ray in
            this machine, and ends it afterwards
    """

    number: int
    threads: int = 1
    address: str | None = None


class PieceWorker:
    """An actor: translates one piece after the other."""

    def __init__(self, translator: TableTranslator, fingerprint: str) -> None:
        """fingerprint: of the model that is meant, which may be another on this machine."""
        self._translator, self._fingerprint = translator, fingerprint

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Tasks as JSON in "task"; out come their counts, or what is wrong in "failed"."""
        rows = [self._run(str(task)) for task in batch["task"]]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def _run(self, task: str) -> dict[str, Any]:
        start, counts, failed = time.process_time(), Counts(0, 0), ""
        try:
            found = self._translator.translator().fingerprint
            if found != self._fingerprint:
                raise TfmError(f"this machine has another model: {found}, not {self._fingerprint}")
            counts = PieceTask(**json.loads(task)).run(self._translator)
        except (TfmError, *READ_ERRORS) as error:
            failed = str(error) or type(error).__name__
        return {
            "task": task,
            **asdict(counts),
            "failed": failed,
            "cpu_seconds": time.process_time() - start,
            "pid": os.getpid(),
        }


def run_tasks(
    tasks: Sequence[PieceTask], translator: TableTranslator, actors: Actors
) -> Generator[tuple[PieceTask, dict[str, Any]], None, None]:
    """Each task with what its actor says, as they are done.

    An actor that dies is started again, and its tasks as well.

    Raises:
        TfmError: Ray cannot start, or gives up
        ModuleNotFoundError: there is no Ray
    """
    # Ray reports its use to its makers unless this is said before it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it writes on stderr
    ray = import_module("ray")
    data = import_module("ray.data")
    rows = [{"task": json.dumps(asdict(task))} for task in tasks]
    kwargs = {"translator": translator, "fingerprint": translator.translator().fingerprint}
    # What Ray prints, that a worker died for one, is no output of ours.
    with contextlib.redirect_stdout(sys.stderr), _ray_errors(ray), _connected(ray, actors):
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        results = data.from_items(
            rows, override_num_blocks=min(len(rows), _MOST_BLOCKS)
        ).map_batches(
            PieceWorker,
            fn_constructor_kwargs=kwargs,
            batch_size=1,
            batch_format="numpy",
            num_cpus=actors.threads,
            compute=data.ActorPoolStrategy(size=actors.number),
        )
        for row in results.iter_rows():
            yield PieceTask(**json.loads(row["task"])), row


def check_address(address: str) -> None:
    """Raises TfmError if nobody listens there: Ray itself would try for many minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdecimal():  # "auto" looks for a cluster in this machine
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise TfmError(f"no Ray cluster answers at {address}: {error}") from error


@contextlib.contextmanager
def _connected(ray: Any, actors: Actors) -> Iterator[None]:
    """Ray in this machine, with a folder of its own that is deleted, or a running cluster; or one
    that this process is already connected to."""
    if ray.is_initialized():
        yield
        return
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    with tempfile.TemporaryDirectory(prefix="tfm-", ignore_cleanup_errors=True) as folder:
        if actors.address is None:
            ray.init(
                num_cpus=actors.number * actors.threads,
                include_dashboard=False,
                object_store_memory=_STORE_BYTES,
                # The sockets in it have paths of at most 107 bytes; None is Ray's own folder.
                _temp_dir=folder if len(folder) <= _LONGEST_FOLDER else None,
                **quiet,
            )
        else:
            ray.init(address=actors.address, **quiet)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        if on_sigterm is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray has put its own there
        try:
            yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _ray_errors(ray: Any) -> Iterator[None]:
    """What Ray raises, as one line of ours."""
    try:
        yield
    except (ray.exceptions.RayError, ConnectionError, RuntimeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise TfmError(f"Ray failed: {(lines or [type(error).__name__])[-1][:300]}") from error
