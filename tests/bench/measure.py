"""The measurements.

In every round each system measures each cell once, so that a slow minute of the machine slows all
systems alike. Results are medians over the rounds.
"""

import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from .contenders import Contender
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


@dataclass(frozen=True, slots=True)
class Fresh:
    """What a new process takes to load a system and to translate one sentence.

    Attributes:
        import_s: seconds to import the engine
        first_token_s: seconds to load the model and decode the first token
        peak_mb: the most memory used, one sentence with the widest beam included
    """

    import_s: float
    first_token_s: float
    peak_mb: float


@dataclass(slots=True)
class Results:
    """Everything that was measured, by the names of systems and cells."""

    settings: dict[str, str] = field(default_factory=dict)
    systems: list[str] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)
    tokens_per_s: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    floor_share: dict[str, dict[str, float]] = field(default_factory=dict)
    exact_match: dict[str, dict[str, float]] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    latency_s: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    fresh: dict[str, Fresh] = field(default_factory=dict)
    megabytes: dict[str, float] = field(default_factory=dict)
    scaling_cell: str = ""
    seconds_per_token: dict[str, dict[int, float]] = field(default_factory=dict)

    def speed(self, system: str, cell: str) -> float | None:
        """Median tokens/s; None where the system was not measured in this cell."""
        speeds = self.tokens_per_s.get(system, {}).get(cell)
        return statistics.median(speeds) if speeds else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure; cli.py has the parts in PARTS."""

    batches: Sequence[int]
    beams: Sequence[int]
    rounds: int
    parts: Sequence[str]
    length_scaling: bool


def measure(
    contenders: Sequence[Contender],
    workload: Workload,
    plan: Plan,
    folder: Path,
    greedy_reference: Callable[[Ids], Ids] | None,
) -> Results:
    """Measure everything in the plan.

    Args:
        folder: an existing folder for the workers' logs
        greedy_reference: gives the expected greedy outputs of sources; None if there is no such
            reference

    Raises:
        BenchError: a worker died
    """
    systems = [contender.system for contender in contenders]
    results = Results(systems=[system.name for system in systems])
    results.megabytes = {c.system.name: c.megabytes for c in contenders}
    floors = {c.floor.name: c.system.name for c in contenders if c.floor}
    floor_systems = [c.floor for c in contenders if c.floor]
    batches = plan.batches if "cells" in plan.parts else ()
    cells = workload.cells(batches, plan.beams, mixed="mixed" in plan.parts)
    with running([*systems, *floor_systems], folder) as workers:
        if cells:
            _measure_cells(workers, cells, plan.rounds, floors, results, greedy_reference)
        ours_and_peers = workers[: len(systems)]
        if "latency" in plan.parts:
            _measure_latency(ours_and_peers, workload, plan.beams, results)
        if plan.length_scaling:
            _measure_scaling(ours_and_peers, workload, max(plan.beams), plan.rounds, results)
    if "fresh" in plan.parts:
        _measure_fresh(systems, workload, max(plan.beams), folder, results)
    return results


def _takes_part(system: System, beam: int) -> bool:
    return beam == 1 or not system.greedy_only


@dataclass(frozen=True, slots=True)
class _Timings:
    """By the names of system and cell: seconds of each round, and tokens and ids of one turn."""

    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    tokens: dict[tuple[str, str], int] = field(default_factory=dict)
    ids: dict[tuple[str, str], Ids] = field(default_factory=dict)
    repeats: dict[tuple[str, str], int] = field(default_factory=dict)

    def is_enough(self, key: tuple[str, str]) -> bool:
        seconds = self.seconds.get(key, [])
        return len(seconds) >= 2 and sum(seconds) > CELL_LIMIT_S

    def median(self, system: str, cell: str) -> float:
        return statistics.median(self.seconds[system, cell])


def _take_turns(
    workers: Sequence[Worker], cells: dict[str, Cell], rounds: int, title: str
) -> _Timings:
    """Let every worker measure every cell once in each round; the first round is not counted."""
    timings = _Timings()
    turns = [
        (worker, name, cell)
        for name, cell in cells.items()
        for worker in workers
        if _takes_part(worker.system, cell.beam)
        and not (worker.system.engine == "floor" and cell.batch is None)
    ]
    with _progress(len(turns) * (rounds + 1), title) as bar:
        for number in range(rounds + 1):
            for worker, name, cell in turns:
                key = (worker.system.name, name)
                if number == 0:
                    answer = worker.translate(cell, ids=True)
                    timings.ids[key], timings.tokens[key] = answer["ids"], answer["tokens"]
                    repeats = math.ceil(TURN_S / answer["seconds"])
                    timings.repeats[key] = min(repeats, MOST_REPEATS)
                elif not timings.is_enough(key):
                    answer = worker.translate(cell, repeats=timings.repeats[key])
                    seconds = answer["seconds"]
                    timings.seconds.setdefault(key, []).append(seconds)
                bar.update()
    return timings


def _progress(total: int, title: str) -> "tqdm[NoReturn]":
    return tqdm(total=total, desc=title, leave=False, disable=None)  # None: only on a terminal


def _measure_cells(
    workers: Sequence[Worker],
    cells: Sequence[Cell],
    rounds: int,
    floors: dict[str, str],
    results: Results,
    greedy_reference: Callable[[Ids], Ids] | None,
) -> None:
    results.cells = [cell.name for cell in cells]
    timings = _take_turns(workers, {cell.name: cell for cell in cells}, rounds, "cells")
    for system, cell in timings.seconds:
        if system in results.systems:
            speeds = [timings.tokens[system, cell] / s for s in timings.seconds[system, cell]]
            results.tokens_per_s.setdefault(system, {})[cell] = speeds
        elif system in floors:
            ours = floors[system]
            share = timings.median(system, cell) / timings.median(ours, cell)
            results.floor_share.setdefault(ours, {})[cell] = share
    for mixed in (cell for cell in cells if cell.batch is None):
        outputs = {s: ids for (s, name), ids in timings.ids.items() if name == mixed.name}
        _match(mixed, outputs, results, greedy_reference)


def _match(
    cell: Cell,
    outputs: dict[str, Ids],
    results: Results,
    greedy_reference: Callable[[Ids], Ids] | None,
) -> None:
    """For each system, the share of sentences that are equal to the reference's."""
    if cell.beam == 1 and greedy_reference is not None:
        name = "PyTorch"
        reference = outputs.get("PyTorch, no cache") or greedy_reference(cell.sources)
    else:
        candidates = ("CTranslate2 float32", "tfm fp32")
        name = next((n for n in candidates if n in outputs), "")
        if not name:
            return
        reference = outputs[name]
    search = search_name(cell.beam)
    results.references[search] = name
    for system, ids in outputs.items():
        equal = sum(a == b for a, b in zip(ids, reference, strict=True))
        results.exact_match.setdefault(system, {})[search] = equal / len(reference)


def _measure_latency(
    workers: Sequence[Worker], workload: Workload, beams: Sequence[int], results: Results
) -> None:
    """Time each sentence alone. PyTorch without a cache is left out: it would take very long."""
    sources = workload.mixed[:LATENCY_SENTENCES]
    fast_workers = [worker for worker in workers if worker.system.engine != "torch"]
    turns = [(beam, ids, worker) for beam in beams for ids in sources for worker in fast_workers]
    with _progress(len(turns), "latency") as bar:
        for beam, ids, worker in turns:
            seconds = worker.translate(Cell(beam, 1, [ids], workload.length))["seconds"]
            searches = results.latency_s.setdefault(worker.system.name, {})
            searches.setdefault(search_name(beam), []).append(seconds)
            bar.update()


def _measure_scaling(
    workers: Sequence[Worker], workload: Workload, beam: int, rounds: int, results: Results
) -> None:
    """Seconds per token of a batch, for short and for long translations."""
    cells = {str(n): workload.cell(SCALING_BATCH, beam, n) for n in SCALING_LENGTHS}
    results.scaling_cell = cells[str(SCALING_LENGTHS[0])].name
    timings = _take_turns(workers, cells, rounds, "length scaling")
    for system, length in timings.seconds:
        per_token = timings.median(system, length) / timings.tokens[system, length]
        results.seconds_per_token.setdefault(system, {})[int(length)] = per_token


def _measure_fresh(
    systems: Sequence[System], workload: Workload, beam: int, folder: Path, results: Results
) -> None:
    """Start a new process for each system, several times."""
    starts: dict[str, list[Fresh]] = {system.name: [] for system in systems}
    with _progress(FRESH_STARTS * len(systems), "fresh starts") as bar:
        for system in (system for _ in range(FRESH_STARTS) for system in systems):
            earlier = starts[system.name]
            if not earlier or earlier[0].import_s + earlier[0].first_token_s < SLOW_START_S:
                width = 1 if system.greedy_only else beam
                earlier.append(_start(system, workload.pool[:1], width, workload.length, folder))
            bar.update()
    for name, measured in starts.items():
        columns = zip(*(dataclasses.astuple(start) for start in measured), strict=True)
        results.fresh[name] = Fresh(*(statistics.median(column) for column in columns))


def _start(system: System, sources: Ids, beam: int, length: int, folder: Path) -> Fresh:
    with running([system], folder) as (worker,):
        first = worker.translate(Cell(1, 1, sources, 1))["seconds"]
        worker.translate(Cell(beam, 1, sources, length))
        return Fresh(worker.import_s, worker.load_s + first, worker.peak_memory())
