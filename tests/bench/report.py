"""Results as Markdown and as JSON."""

import dataclasses
import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from .measure import Results

BASELINE = "CTranslate2"  # the fastest system whose name begins with this is 1.00 in each cell


def as_markdown(results: Results) -> str:
    """Tables of everything that was measured, and the settings line."""
    tables = [
        _table("tokens/s", results.cells, _speeds(results)),
        _table("against CTranslate2's best", results.cells, _ratios(results)),
        _process_table(results),
        _table("share of matrix products", _floor_cells(results), _floors(results)),
        _scaling(results),
    ]
    settings = "; ".join(f"{value}" for value in results.settings.values())
    return "\n\n".join([*(table for table in tables if table), _explanation(results) + settings])


def write_json(results: Results, path: Path) -> None:
    """Every number, and every round of it."""
    path.write_text(json.dumps(dataclasses.asdict(results), indent=2) + "\n", "utf-8")


def relative_speeds(results: Results) -> dict[str, dict[str, float]]:
    """tokens/s of each system and cell, divided by the fastest baseline's in that cell."""
    relative: dict[str, dict[str, float]] = {}
    for cell in results.cells:
        baselines = [
            speed
            for system in results.systems
            if system.startswith(BASELINE) and (speed := results.speed(system, cell))
        ]
        if not baselines:
            continue
        for system in results.systems:
            speed = results.speed(system, cell)
            if speed is not None:
                relative.setdefault(system, {})[cell] = speed / max(baselines)
    return relative


def _table(title: str, heads: Sequence[str], rows: Iterable[tuple[str, list[str]]]) -> str:
    lines = [f"| {name} | {' | '.join(cells)} |" for name, cells in rows]
    if not lines or not heads:
        return ""
    return "\n".join([f"| {title} | {' | '.join(heads)} |", f"|---|{'--:|' * len(heads)}", *lines])


def _cells(results: Results, value: Callable[[str], float | None], form: str) -> list[str]:
    numbers = [value(cell) for cell in results.cells]
    return ["-" if number is None else format(number, form) for number in numbers]


def _speeds(results: Results) -> list[tuple[str, list[str]]]:
    if not results.cells:
        return []
    return [
        (system, _cells(results, partial(results.speed, system), ".0f"))
        for system in results.systems
    ]


def _ratios(results: Results) -> list[tuple[str, list[str]]]:
    return [
        (system, _cells(results, ratios.get, ".2f"))
        for system, ratios in relative_speeds(results).items()
    ]


def _process_table(results: Results) -> str:
    """Sizes, memory, latency and equality of each system; only the columns that were measured."""
    searches = [*results.latency_s.get(results.systems[0], {}), *results.references]
    columns: dict[str, Callable[[str], str]] = {"disk MB": lambda s: f"{results.megabytes[s]:.1f}"}
    if results.fresh:
        columns["peak MB"] = lambda s: f"{results.fresh[s].peak_mb:.0f}"
        columns["import s"] = lambda s: f"{results.fresh[s].import_s:.2f}"
        columns["load + first token s"] = lambda s: f"{results.fresh[s].first_token_s:.2f}"
    for search in dict.fromkeys(searches):
        if results.latency_s:
            columns[f"{search} p50 / p95 ms"] = partial(_latency, results, search)
    for search in results.references:
        columns[f"{search} equal"] = partial(_equal, results, search)
    rows = [(system, [form(system) for form in columns.values()]) for system in results.systems]
    return _table("one process", list(columns), rows)


def _equal(results: Results, search: str, system: str) -> str:
    return _share(results.exact_match.get(system, {}).get(search))


def _latency(results: Results, search: str, system: str) -> str:
    seconds = results.latency_s.get(system, {}).get(search)
    if not seconds:
        return "-"
    ordered = sorted(seconds)
    at_95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    return f"{statistics.median(ordered) * 1e3:.1f} / {at_95 * 1e3:.1f}"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _floor_cells(results: Results) -> list[str]:
    measured = {cell for shares in results.floor_share.values() for cell in shares}
    return [cell for cell in results.cells if cell in measured]


def _floors(results: Results) -> list[tuple[str, list[str]]]:
    cells = _floor_cells(results)
    return [
        (system, [_share(shares.get(cell)) for cell in cells])
        for system, shares in results.floor_share.items()
    ]


def _scaling(results: Results) -> str:
    lengths = sorted({n for by_length in results.seconds_per_token.values() for n in by_length})
    if not lengths:
        return ""
    rows = []
    for system, by_length in results.seconds_per_token.items():
        values = [f"{by_length[length] * 1e3:.3f}" for length in lengths]
        rows.append((system, [*values, f"{by_length[lengths[-1]] / by_length[lengths[0]]:.2f}"]))
    heads = [*(f"at {length} tokens" for length in lengths), "grows by"]
    return _table(f"ms per token, {results.scaling_cell}", heads, rows)


def _explanation(results: Results) -> str:
    if not results.references:
        return ""
    references = [f"{search}: {name}" for search, name in results.references.items()]
    return f"Equal: of the mixed sentences, to the reference's tokens ({', '.join(references)}). "
