"""What a run found, computed from its measurements; medians over the rounds."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .contenders import Contender
from .floor import floor_seconds
from .measure import scaling_cells
from .measurements import Measurements
from .operators import Work
from .plan import Plan
from .speeds import Speeds
from .systems import System
from .workload import Workload, search_name

OTHER_LOAD = 0.1  # share of the machine that others may have before a figure is marked


@dataclass(frozen=True, slots=True)
class Row:
    """A system in the tables.

    Attributes:
        label: tells it apart, such as `CTranslate2 int8, 1 thread`
        name: the system without its number of threads
        megabytes: its size on disk
    """

    label: str
    name: str
    threads: int
    megabytes: float


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


@dataclass(frozen=True, slots=True)
class WorkPerToken:
    """What one of our variants does for a token of a cell.

    Attributes:
        weight_bytes: that its products read
        operators: that run
        products_s: CPU seconds of the products, timed alone on one thread
        floor_s: CPU seconds of the products at the speeds of this machine (floor.py)
        first_step_share: share of the CPU time until the first token
        operators_by_kind: of the whole cell
    """

    weight_bytes: float
    operators: float
    products_s: float
    floor_s: float
    first_step_share: float
    operators_by_kind: dict[str, int]


@dataclass(slots=True)
class Results:
    """Everything that was measured, by labels of systems and names of cells."""

    settings: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)
    tokens_per_s: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    tokens_per_cpu_s: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    other_load: dict[str, dict[str, float]] = field(default_factory=dict)
    work: dict[str, dict[str, WorkPerToken]] = field(default_factory=dict)
    speeds: dict[str, Speeds] = field(default_factory=dict)
    exact_match: dict[str, dict[str, float]] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    latency_s: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    fresh: dict[str, Fresh] = field(default_factory=dict)
    scaling_cell: str = ""
    seconds_per_token: dict[str, dict[int, float]] = field(default_factory=dict)

    def threads(self) -> list[int]:
        """The numbers of threads, the least first."""
        return sorted({row.threads for row in self.rows})

    def is_marked(self, label: str, cell: str) -> bool:
        """Other processes had more than OTHER_LOAD of the machine meanwhile."""
        return self.other_load.get(label, {}).get(cell, 0.0) > OTHER_LOAD


Speed = Mapping[str, Mapping[str, Sequence[float]]]  # Results.tokens_per_s or tokens_per_cpu_s


def median_speed(speeds: Speed, label: str, cell: str) -> float | None:
    """None where the system was not measured in this cell."""
    rounds = speeds.get(label, {}).get(cell)
    return statistics.median(rounds) if rounds else None


def results_of(
    measured: Measurements, contenders: Sequence[Contender], workload: Workload, plan: Plan
) -> Results:
    """The results of what is measured so far."""
    systems = [contender.system for contender in contenders]
    results = Results(
        rows=[
            Row(c.system.label, c.system.name, c.system.threads, c.megabytes) for c in contenders
        ],
        cells=[cell.name for cell in plan.cells(workload)],
    )
    for system in systems:
        _add_cells(system.label, measured, results)
        _add_latency(system.label, plan.beams, measured, results)
        if starts := measured.rounds("fresh", system.label):
            medians = {name: statistics.median(s[name] for s in starts) for name in starts[0]}
            results.fresh[system.label] = Fresh(**medians)
    for beam in plan.beams:
        _add_matches(beam, systems, measured, results)
    for name in dict.fromkeys(system.name for system in systems):
        _add_work(name, measured, results)
    if plan.length_scaling:
        _add_scaling(systems, workload, max(plan.beams), measured, results)
    return results


def _add_cells(label: str, measured: Measurements, results: Results) -> None:
    for cell in results.cells:
        warm_up = measured.get("cells", label, cell, 0)
        rounds = measured.rounds("cells", label, cell)
        if warm_up is None or not rounds:
            continue
        for speeds, seconds in (
            (results.tokens_per_s, "seconds"),
            (results.tokens_per_cpu_s, "cpu_seconds"),
        ):
            # A clock of long ticks may show nothing.
            rates = [warm_up["tokens"] / r[seconds] for r in rounds if r[seconds] > 0]
            speeds.setdefault(label, {})[cell] = rates
        shares = [r["others"] for r in rounds if r["others"] is not None]
        if shares:
            results.other_load.setdefault(label, {})[cell] = statistics.mean(shares)


def _add_latency(
    label: str, beams: Iterable[int], measured: Measurements, results: Results
) -> None:
    for search in map(search_name, beams):
        if seconds := [entry["seconds"] for entry in measured.rounds("latency", label, search)]:
            results.latency_s.setdefault(label, {})[search] = seconds


def _add_matches(
    beam: int, systems: Sequence[System], measured: Measurements, results: Results
) -> None:
    """For each system, the share of the mixed sentences that are equal to the reference's."""
    cell = f"mixed {search_name(beam)}"
    outputs: dict[str, tuple[str, Any]] = {}
    for system in systems:
        warm_up = measured.get("cells", system.label, cell, 0)
        if warm_up is not None and "ids" in warm_up:
            outputs[system.label] = system.name, warm_up["ids"]
    given = measured.get("reference", cell)
    if given is not None:
        name, reference = "PyTorch", given["ids"]
    else:
        by_name = dict(outputs.values())
        name = next((n for n in ("CTranslate2 float32", "tfm fp32") if n in by_name), "")
        if not name:
            return
        reference = by_name[name]
    search = search_name(beam)
    results.references[search] = name
    for label, (_, ids) in outputs.items():
        equal = sum(a == b for a, b in zip(ids, reference, strict=True))
        results.exact_match.setdefault(label, {})[search] = equal / len(reference)


def _add_work(name: str, measured: Measurements, results: Results) -> None:
    found = measured.get("speeds", name)
    if found is None:
        return
    speeds = results.speeds[name] = Speeds(**found)
    for cell in results.cells:
        entry = measured.get("work", name, cell)
        if entry is not None:
            work = Work.of_json(entry)
            tokens = max(1, work.tokens)
            results.work.setdefault(name, {})[cell] = WorkPerToken(
                weight_bytes=work.weight_bytes / tokens,
                operators=sum(work.operators.values()) / tokens,
                products_s=work.products_s / tokens,
                floor_s=floor_seconds(work.products, speeds) / tokens,
                first_step_share=work.first_step_share,
                operators_by_kind=work.operators,
            )


def _add_scaling(
    systems: Sequence[System],
    workload: Workload,
    beam: int,
    measured: Measurements,
    results: Results,
) -> None:
    cells = scaling_cells(workload, beam)
    results.scaling_cell = next(iter(cells.values())).name
    for system in systems:
        for length in cells:
            warm_up = measured.get("length scaling", system.label, length, 0)
            rounds = measured.rounds("length scaling", system.label, length)
            if warm_up is not None and rounds:
                seconds = statistics.median(r["seconds"] for r in rounds)
                per_length = results.seconds_per_token.setdefault(system.label, {})
                per_length[int(length)] = seconds / warm_up["tokens"]
