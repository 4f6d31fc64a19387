"""Results as Markdown and as JSON."""

import dataclasses
import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tfm.runtime.files.atomic import write_text

from .results import OTHER_LOAD, Results, Row, Speed, WorkPerToken, median_speed
from .systems import threads_name

BASELINE = "CTranslate2"  # the fastest system whose name begins with this is 1.00 in each cell
OURS = "tfm "
MARK = "*"

Rows = Iterable[tuple[str, Sequence[str]]]


def as_markdown(results: Results) -> str:
    """A heading, tables of everything that was measured, and the settings line."""
    tables = [
        table
        for threads in results.threads()
        for title, speeds in (
            ("tokens/s", results.tokens_per_s),
            ("tokens per CPU second", results.tokens_per_cpu_s),
        )
        if (table := _speed_table(title, results, speeds, threads))
    ]
    tables += [_work_table(results, name) for name in results.work]
    tables += [_process_table(results), _scaling(results)]
    subject = [results.settings[name] for name in ("model", "busy") if name in results.settings]
    heading = f"## {', '.join(subject)}"
    return "\n\n".join([heading, *(table for table in tables if table), _notes(results)])


def write_json(results: Results, path: Path) -> None:
    """Every number, and every round of it."""
    write_text(path, json.dumps(dataclasses.asdict(results), indent=2) + "\n")


def compared_rows(results: Results, threads: int) -> list[Row]:
    """The rows of the table of this many threads.

    CTranslate2 is there with one thread too: on some machines its small products are slower with
    two, and who wants its speed there uses one.
    """
    return [
        row
        for row in results.rows
        if row.threads == threads or (row.threads == 1 and row.name.startswith(BASELINE))
    ]


def relative_speeds(results: Results, speeds: Speed, threads: int) -> dict[str, dict[str, float]]:
    """Speed of each row and cell, divided by the fastest baseline's in that cell.

    Args:
        speeds: results.tokens_per_s or results.tokens_per_cpu_s
        threads: of the table; see `compared_rows`
    """
    relative: dict[str, dict[str, float]] = {}
    rows = compared_rows(results, threads)
    for cell in results.cells:
        baselines = [
            speed
            for row in rows
            if row.name.startswith(BASELINE) and (speed := median_speed(speeds, row.label, cell))
        ]
        if not baselines:
            continue
        for row in rows:
            speed = median_speed(speeds, row.label, cell)
            if speed is not None:
                relative.setdefault(row.label, {})[cell] = speed / max(baselines)
    return relative


def _table(title: str, heads: Sequence[str], rows: Rows) -> str:
    lines = [f"| {name} | {' | '.join(cells)} |" for name, cells in rows]
    if not lines or not heads:
        return ""
    return "\n".join([f"| {title} | {' | '.join(heads)} |", f"|---|{'--:|' * len(heads)}", *lines])


def _speed_table(title: str, results: Results, speeds: Speed, threads: int) -> str:
    rows = compared_rows(results, threads)
    if not any(row.label in speeds for row in rows):
        return ""
    table = []
    for row in rows:
        name = row.name if row.threads == threads else row.label
        table.append((name, [_speed(results, speeds, row, cell) for cell in results.cells]))
    relative = relative_speeds(results, speeds, threads)
    ours = [row for row in rows if row.name.startswith(OURS)]
    for row in ours:
        if ratios := relative.get(row.label):
            table.append((f"{row.name} / {BASELINE}'s best", _ratios(results, ratios)))
    for row in ours:
        single = next((r for r in results.rows if (r.name, r.threads) == (row.name, 1)), row)
        if single is not row:
            ratios = {
                cell: many / one
                for cell in results.cells
                if (many := median_speed(speeds, row.label, cell))
                and (one := median_speed(speeds, single.label, cell))
            }
            table.append((f"{row.name} / its own 1 thread", _ratios(results, ratios)))
    return _table(f"{title}, {threads_name(threads)}", results.cells, table)


def _speed(results: Results, speeds: Speed, row: Row, cell: str) -> str:
    speed = median_speed(speeds, row.label, cell)
    if speed is None:
        return "-"
    return f"{speed:.0f}{MARK if results.is_marked(row.label, cell) else ''}"


def _ratios(results: Results, ratios: dict[str, float]) -> list[str]:
    return [f"{ratios[cell]:.2f}" if cell in ratios else "-" for cell in results.cells]


def _work_table(results: Results, name: str) -> str:
    """What one of our variants does for a token, and how near it is to what the machine can."""
    work = results.work[name]

    def line(value: Callable[[WorkPerToken], str]) -> list[str]:
        return [value(work[cell]) if cell in work else "-" for cell in results.cells]

    rows = [
        ("MB of weights read per token", line(lambda w: f"{w.weight_bytes / 1e6:.3f}")),
        ("operators run per token", line(lambda w: f"{w.operators:.1f}")),
        ("until the first token", line(lambda w: f"{w.first_step_share:.0%}")),
        ("products, of the CPU time", _shares(results, name, lambda w: w.products_s)),
        ("floor, of the CPU time", _shares(results, name, lambda w: w.floor_s)),
    ]
    return _table(f"{name}, 1 thread", results.cells, rows)


def _shares(results: Results, name: str, seconds: Callable[[WorkPerToken], float]) -> list[str]:
    """Of the CPU time that a token takes with one thread, if that was measured."""
    labels = [row.label for row in results.rows if (row.name, row.threads) == (name, 1)]
    label = labels[0] if labels else ""
    shares = []
    for cell in results.cells:
        work = results.work[name].get(cell)
        speed = median_speed(results.tokens_per_cpu_s, label, cell)
        shares.append(_share(seconds(work) * speed if work and speed else None))
    return shares


def _process_table(results: Results) -> str:
    """Sizes, memory, latency and equality of each system; only the columns that were measured."""
    columns: dict[str, Callable[[Row], str]] = {"disk MB": lambda row: f"{row.megabytes:.1f}"}
    if results.fresh:
        columns["peak MB"] = lambda row: _fresh(results, row, "peak_mb", ".0f")
        columns["import s"] = lambda row: _fresh(results, row, "import_s", ".2f")
        columns["load + first token s"] = lambda row: _fresh(results, row, "first_token_s", ".2f")
    searches = [search for found in results.latency_s.values() for search in found]
    for search in dict.fromkeys(searches):
        columns[f"{search} p50 / p95 ms"] = lambda row, s=search: _latency(results, s, row)  # type: ignore[misc]
    for search in results.references:
        columns[f"{search} equal"] = lambda row, s=search: _equal(results, s, row)  # type: ignore[misc]
    rows = [(row.label, [form(row) for form in columns.values()]) for row in results.rows]
    return _table("one process", list(columns), rows)


def _fresh(results: Results, row: Row, name: str, form: str) -> str:
    fresh = results.fresh.get(row.label)
    return "-" if fresh is None else format(getattr(fresh, name), form)


def _equal(results: Results, search: str, row: Row) -> str:
    return _share(results.exact_match.get(row.label, {}).get(search))


def _latency(results: Results, search: str, row: Row) -> str:
    seconds = results.latency_s.get(row.label, {}).get(search)
    if not seconds:
        return "-"
    ordered = sorted(seconds)
    at_95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    return f"{statistics.median(ordered) * 1e3:.1f} / {at_95 * 1e3:.1f}"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _scaling(results: Results) -> str:
    lengths = sorted({n for by_length in results.seconds_per_token.values() for n in by_length})
    rows = []
    for system, by_length in results.seconds_per_token.items():
        if len(by_length) == len(lengths):
            values = [f"{by_length[length] * 1e3:.3f}" for length in lengths]
            growth = by_length[lengths[-1]] / by_length[lengths[0]]
            rows.append((system, [*values, f"{growth:.2f}"]))
    heads = [*(f"at {length} tokens" for length in lengths), "grows by"]
    return _table(f"ms per token, {results.scaling_cell}", heads, rows)


def _notes(results: Results) -> str:
    """What the figures need to be read, a paragraph each, and the settings last."""
    notes = []
    if any(
        results.is_marked(label, cell) for label in results.other_load for cell in results.cells
    ):
        notes.append(
            f"Figures with {MARK}: other processes used more than {OTHER_LOAD:.0%} of the machine"
            " meanwhile."
        )
    for name, speeds in results.speeds.items():
        notes.append(
            f"{name}: the floor is the sum over all products of the longer of reading the weight"
            f" and multiplying, at the speeds of one thread here: {speeds.bytes_per_s / 1e9:.0f}"
            f" GB/s of {speeds.working_set / 1e6:.1f} MB, which are a step's weights, and"
            f" {speeds.integer / 1e9:.0f} (int8) or {speeds.real / 1e9:.0f} (float32) thousand"
            " million multiply-adds a second."
        )
    if results.references:
        references = [f"{search}: {name}" for search, name in results.references.items()]
        notes.append(
            f"Equal: of the mixed sentences, to the reference's tokens ({', '.join(references)})."
        )
    notes.append("; ".join(results.settings.values()))
    return "\n\n".join(notes)
