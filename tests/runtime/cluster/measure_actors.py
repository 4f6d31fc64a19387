"""How the throughput of `tfm ray` grows with its actors, one thread each.

    python tests/runtime/cluster/measure_actors.py [--rows 4000] [--actors 1,2] [--rounds 2]

Sentences of the benchmark's test set, each with a number of its own, so that none is translated
for two rows at once. Counted from the first task that is done to the last: Ray has started, and
every actor has its model. Other programs on the machine lower rows per second, but hardly rows per
CPU second of the actors.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tfm.runtime.cluster.folder_job import FolderJob
from tfm.runtime.cluster.pieces import Counts
from tfm.runtime.cluster.ray_job import Actors, run_tasks
from tfm.runtime.cluster.table_translator import TableTranslator

SENTENCES = Path(__file__).parents[2] / "bench" / "sentences" / "zh.txt"
ROWS_PER_TASK = 100


@dataclass
class Measured:
    """One run.

    Attributes:
        rows: that were translated between the first and the last task
        seconds: between them, by the clock
        cpu_seconds: of all actors, for these rows
        memory: of the largest actor at its peak, in bytes
        load_cpu_seconds: of an actor's first task beyond a usual one: loading the model
    """

    rows: int
    seconds: float
    cpu_seconds: float
    memory: int
    load_cpu_seconds: float


def peak_memory(pid: int) -> int:
    """The most that a process has had, in bytes; 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii")
    except OSError:
        return 0
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def measure(texts: list[str], actors: int, folder: Path) -> Measured:
    """Run a job of these rows."""
    (folder / "in").mkdir(parents=True)
    rows = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts]
    (folder / "in" / "a.jsonl").write_text("".join(rows), "utf-8")
    translator = TableTranslator(beam_size=1)
    job = FolderJob(folder / "in", folder / "out", translator, {}, rows_per_task=ROWS_PER_TASK)
    times, counted, cpu, memory = [], [], [], 0
    first: dict[int, float] = {}
    with job.open():
        for task, found in run_tasks(job.tasks, translator, Actors(actors)):
            if found["failed"]:
                sys.exit(found["failed"])
            job.done(task, Counts(int(found["rows"]), int(found["errors"])))
            memory = max(memory, peak_memory(int(found["pid"])))
            if int(found["pid"]) not in first:
                first[int(found["pid"])] = float(found["cpu_seconds"])
                times, counted, cpu = [time.perf_counter()], [], []  # all actors are at work now
                continue
            times.append(time.perf_counter())
            counted.append(int(found["rows"]))
            cpu.append(float(found["cpu_seconds"]))
    if len(first) < actors:
        sys.exit(f"only {len(first)} of {actors} actors had work: give more rows")
    load = max(first.values()) - median(cpu)
    return Measured(sum(counted), times[-1] - times[0], sum(cpu), memory, load)


def main() -> None:
    """Measure, and print a line for each run and the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--actors", default="1,2")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    lines = SENTENCES.read_text("utf-8").splitlines()
    texts = [f"第{n}，{lines[n % len(lines)]}" for n in range(arguments.rows)]
    numbers = [int(number) for number in arguments.actors.split(",")]
    found: dict[int, list[Measured]] = {number: [] for number in numbers}
    for _ in range(arguments.rounds):
        for number in numbers:
            with tempfile.TemporaryDirectory() as folder:
                done = measure(texts, number, Path(folder))
            found[number].append(done)
            print(
                f"{number} actors: {done.rows} rows, {done.rows / done.seconds:.0f} rows/s,"
                f" {done.rows / done.cpu_seconds:.0f} rows/CPU s,"
                f" {done.cpu_seconds / done.seconds:.2f} CPUs had,"
                f" {done.memory / 1e6:.0f} MB an actor, model loaded in"
                f" {done.load_cpu_seconds:.2f} CPU s",
                flush=True,
            )
    one = found[numbers[0]]
    for number in numbers[1:]:
        more = found[number]
        clock = median(m.rows / m.seconds for m in more) / median(m.rows / m.seconds for m in one)
        cpu = median(m.rows / m.cpu_seconds for m in more) / median(
            m.rows / m.cpu_seconds for m in one
        )
        print(
            f"{number} to {numbers[0]} actors: {clock:.2f} by the clock, {cpu:.2f} per CPU second"
        )


if __name__ == "__main__":
    main()
