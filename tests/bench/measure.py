"""Measuring. Each figure is kept at once (measurements.py), and none is measured that is there.

In every round each system measures each cell once, so that a slow minute of the machine slows all
systems alike.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from .busy import busy_neighbours
from .contenders import Contender
from .floor import working_set
from .machine import OtherProcesses
from .measurements import Measurements
from .operators import Work
from .plan import Plan
from .pool import Worker, running
from .systems import System
from .workload import Cell, Ids, Workload, search_name

# A system that was measured twice in a cell, for this long, skips the remaining rounds there:
# otherwise the slowest systems would take most of the time.
CELL_LIMIT_S = 6.0
TURN_S = 0.25  # a turn repeats its cell until it takes about this long
MOST_REPEATS = 10
LATENCY_SENTENCES = 32
SCALING_LENGTHS = (32, 256)
SCALING_BATCH = 8
FRESH_STARTS = 3
SLOW_START_S = 2.0  # a system that takes longer to start is started only once


def measure(
    contenders: Sequence[Contender],
    workload: Workload,
    plan: Plan,
    folder: Path,
    measured: Measurements,
    greedy_reference: Callable[[Ids], Ids] | None,
) -> None:
    """Measure everything in the plan that is not measured yet.

    Args:
        folder: an existing folder for the workers' logs
        greedy_reference: gives the expected greedy outputs of sources; None if there is no such
            reference

    Raises:
        BenchError: a worker died
    """
    systems = [contender.system for contender in contenders]
    cells = {cell.name: cell for cell in plan.cells(workload)}
    turns = _Turns(folder, measured, plan.rounds)
    with busy_neighbours(plan.busy):
        turns.take("cells", systems, cells)
        if greedy_reference and (cell := cells.get("mixed greedy")):
            _keep_reference(cell, greedy_reference, measured)
        if "latency" in plan.parts:
            _measure_latency(systems, workload, plan.beams, folder, measured)
        if plan.length_scaling:
            turns.take("length scaling", systems, scaling_cells(workload, max(plan.beams)))
        if "fresh" in plan.parts:
            _measure_fresh(systems, workload, max(plan.beams), folder, measured)
        if "operators" in plan.parts:
            _count_operators(systems, cells, folder, measured)


def scaling_cells(workload: Workload, beam: int) -> dict[str, Cell]:
    """A batch, for short and for long translations."""
    return {str(n): workload.cell(SCALING_BATCH, beam, n) for n in SCALING_LENGTHS}


def _takes_part(system: System, beam: int) -> bool:
    return beam == 1 or not system.greedy_only


class _Turns:
    """Lets systems measure cells in turns."""

    def __init__(self, folder: Path, measured: Measurements, rounds: int) -> None:
        self._folder, self._measured, self._rounds = folder, measured, rounds

    def take(self, part: str, systems: Sequence[System], cells: dict[str, Cell]) -> None:
        """Let every system measure every cell once in each round.

        Before, in round 0, each of them translates once without being timed: that gives the
        tokens, and warms up its process.
        """
        open_turns = [
            (system, name)
            for name, cell in cells.items()
            for system in systems
            if _takes_part(system, cell.beam) and not self._is_done(part, system, name)
        ]
        labels = dict.fromkeys(system.label for system, _ in open_turns)
        taking_part = [system for system in systems if system.label in labels]
        if not taking_part:
            return
        with (
            running(taking_part, self._folder) as workers,
            progress(len(open_turns) * (self._rounds + 1), part) as bar,
        ):
            by_label = {worker.system.label: worker for worker in workers}
            for number in range(self._rounds + 1):
                for system, name in open_turns:
                    worker = by_label[system.label]
                    if number == 0:
                        self._warm_up(part, worker, name, cells[name])
                    elif not self._is_done(part, system, name, number):
                        self._time(part, worker, name, cells[name], number)
                    bar.update()

    def _is_done(self, part: str, system: System, cell: str, number: int | None = None) -> bool:
        """Whether this round is measured, or is to be left out; by default, the last round."""
        times = [t["seconds"] for t in self._measured.rounds(part, system.label, cell)]
        is_enough = len(times) >= 2 and sum(times) > CELL_LIMIT_S
        return is_enough or len(times) >= (number or self._rounds)

    def _warm_up(self, part: str, worker: Worker, name: str, cell: Cell) -> None:
        answer = worker.translate(cell, ids=True)
        key = (part, worker.system.label, name, 0)
        if key not in self._measured:
            repeats = min(math.ceil(TURN_S / answer["seconds"]), MOST_REPEATS)
            entry = {"tokens": answer["tokens"], "repeats": repeats}
            ids = {"ids": answer["ids"]} if cell.batch is None else {}
            self._measured.add(key, {**entry, **ids})

    def _time(self, part: str, worker: Worker, name: str, cell: Cell, number: int) -> None:
        label = worker.system.label
        warm_up = self._measured.get(part, label, name, 0)
        assert warm_up is not None
        others = OtherProcesses()
        answer = worker.translate(cell, repeats=warm_up["repeats"])
        entry = {name: answer[name] for name in ("seconds", "cpu_seconds")}
        self._measured.add((part, label, name, number), {**entry, "others": others.share()})


@contextmanager
def progress(total: int, title: str) -> Iterator["tqdm[NoReturn]"]:
    """A progress bar, on a terminal only."""
    with tqdm(total=total, desc=title, leave=False, disable=None) as bar:
        yield bar


def _keep_reference(
    cell: Cell, greedy_reference: Callable[[Ids], Ids], measured: Measurements
) -> None:
    key = ("reference", cell.name)
    if key not in measured:
        measured.add(key, {"ids": greedy_reference(cell.sources)})


def _measure_latency(
    systems: Sequence[System],
    workload: Workload,
    beams: Sequence[int],
    folder: Path,
    measured: Measurements,
) -> None:
    """Time each sentence alone. PyTorch without a cache is left out: it would take very long."""
    sources = workload.mixed[:LATENCY_SENTENCES]
    fast = [system for system in systems if system.engine != "torch"]
    turns = [
        (system, beam, number)
        for beam in beams
        for number in range(1, len(sources) + 1)
        for system in fast
        if ("latency", system.label, search_name(beam), number) not in measured
    ]
    if not turns:
        return
    labels = {system.label for system, _, _ in turns}
    with (
        running([system for system in fast if system.label in labels], folder) as workers,
        progress(len(turns), "latency") as bar,
    ):
        by_label = {worker.system.label: worker for worker in workers}
        for worker in workers:
            worker.translate(Cell(1, 1, sources[:1], workload.length))  # warms up
        for system, beam, number in turns:
            cell = Cell(beam, 1, [sources[number - 1]], workload.length)
            seconds = by_label[system.label].translate(cell)["seconds"]
            key = ("latency", system.label, search_name(beam), number)
            measured.add(key, {"seconds": seconds})
            bar.update()


def _measure_fresh(
    systems: Sequence[System], workload: Workload, beam: int, folder: Path, measured: Measurements
) -> None:
    """Start a new process for each system, several times."""
    with progress(FRESH_STARTS * len(systems), "fresh starts") as bar:
        for number in range(1, FRESH_STARTS + 1):
            for system in systems:
                earlier = measured.get("fresh", system.label, 1)
                slow = earlier and earlier["import_s"] + earlier["first_token_s"] > SLOW_START_S
                key = ("fresh", system.label, number)
                if key not in measured and not slow:
                    width = 1 if system.greedy_only else beam
                    measured.add(key, _start(system, workload, width, folder))
                bar.update()


def _start(system: System, workload: Workload, beam: int, folder: Path) -> dict[str, float]:
    sources, length = workload.pool[:1], workload.length
    with running([system], folder) as (worker,):
        first = worker.translate(Cell(beam, 1, sources, 1))["seconds"]
        worker.translate(Cell(beam, 1, sources, length))
        return {
            "import_s": worker.import_s,
            "first_token_s": worker.load_s + first,
            "peak_mb": worker.peak_memory(),
        }


def _count_operators(
    systems: Sequence[System], cells: dict[str, Cell], folder: Path, measured: Measurements
) -> None:
    """What each of our variants does in each cell, and the speeds of one thread."""
    ours = {system.name: replace(system, threads=1) for system in systems if system.engine == "tfm"}
    with progress(len(ours) * len(cells), "operators") as bar:
        for name, system in ours.items():
            missing = [cell for cell in cells if ("work", name, cell) not in measured]
            bar.update(len(cells) - len(missing))
            if not missing and ("speeds", name) in measured:
                continue
            with running([system], folder, load=False) as (worker,):
                for cell in missing:
                    measured.add(("work", name, cell), worker.work(cells[cell]))
                    bar.update()
                works = [Work.of_json(measured.get("work", name, cell) or {}) for cell in cells]
                size = max((working_set(work.products) for work in works), default=0)
                if size and ("speeds", name) not in measured:
                    measured.add(("speeds", name), worker.speeds(size))
