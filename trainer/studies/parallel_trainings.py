"""Several trainings at a time, each in a process of its own: small ones do not fill a machine."""

import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from tqdm import tqdm

from tfm.trainer.device import keep_freed_memory
from tfm.trainer.errors import TrainError
from tfm.trainer.stopping import Interrupted, StopSignals


@dataclass(frozen=True, slots=True)
class Job:
    """A training: its recipe, its checkpoint folder, and the file for what it says."""

    name: str
    recipe: Path
    checkpoint: Path
    log: Path


Train = Callable[[Path, Path], None]  # of a recipe, into a checkpoint folder, resuming


def train_side_by_side(
    train: Train, jobs: Sequence[Job], count: int, threads: int
) -> Iterator[Job]:
    """Train the jobs, `count` at a time; yields each when it is over.

    Args:
        train: a function of a module, which raises TrainError and Interrupted as `train` does
        threads: CPU threads of each

    Raises:
        TrainError: one failed; the others are stopped and saved
        Interrupted: SIGINT, SIGTERM or SIGHUP came; all are saved
    """
    waiting = list(jobs)
    running: dict[BaseProcess, tuple[Job, int]] = {}  # and how long its log was before
    context = multiprocessing.get_context("spawn")  # a fork would not bring torch's threads along
    with StopSignals() as stop, tqdm(total=len(jobs), unit="training", dynamic_ncols=True) as bar:
        try:
            while (waiting or running) and not stop.number:
                while waiting and len(running) < count:
                    job = waiting.pop(0)
                    process: BaseProcess = context.Process(target=_work, args=(train, job, threads))
                    before = job.log.stat().st_size if job.log.exists() else 0
                    process.start()
                    running[process] = (job, before)
                bar.set_postfix_str(", ".join(job.name for job, _ in running.values()))
                wait([process.sentinel for process in running], timeout=0.5)
                for process in [p for p in running if p.exitcode is not None]:
                    if stop.number:  # the terminal's Ctrl-C reaches the processes, too
                        break
                    job, before = running.pop(process)
                    if process.exitcode:
                        raise TrainError(_failure(job, process.exitcode, before))
                    bar.update()
                    yield job
        finally:
            for process in running:
                process.terminate()  # SIGTERM; a second SIGINT would not let it save
            for process in running:
                process.join()
        if stop.number:
            raise Interrupted(0, stop.number)


def _failure(job: Job, status: int, before: int) -> str:
    """What the job's process said; `before` is what its log held already, in bytes."""
    said = f"its process ended with status {status}"
    log = job.log.read_bytes()[before:] if job.log.exists() else b""
    lines = log.decode("utf-8", errors="replace").splitlines()
    errors = [line for line in lines if line.startswith("Error: ")]
    if status == 1 and errors:
        said = errors[-1].removeprefix("Error: ")
    return f"{job.name}: {said}; see {job.log}"


def _work(train: Train, job: Job, threads: int) -> None:
    """What a process does; stdout and stderr are the log."""
    with job.log.open("a", encoding="utf-8", buffering=1) as log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        keep_freed_memory()
        torch.set_num_threads(threads)
        try:
            train(job.recipe, job.checkpoint)
        except TrainError as error:
            print(f"Error: {error}", file=sys.stderr, flush=True)
            raise SystemExit(1) from error
        except Interrupted as stop:
            raise SystemExit(128 + stop.signal_number) from stop
        except KeyboardInterrupt as error:
            raise SystemExit(128 + signal.SIGINT) from error
