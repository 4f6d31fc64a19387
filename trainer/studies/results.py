"""What came of a study's variants, read from their checkpoints: a table, JSON and a picture."""

import dataclasses
import itertools
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tfm.runtime.files.atomic import replace_file, write_text
from tfm.trainer.checkpoint import CheckpointFolder
from tfm.trainer.curves import series

from .ablations import build_transformer

TABLE, JSON, PICTURE = "results.md", "results.json", "study.png"
COLORS = ("#b85c00", "#0b5cad", "#2e7d32", "#8e24aa", "#00838f", "#6d4c41")
TEXTS = 3  # columns of the table that hold text, before those with numbers


@dataclass(frozen=True, slots=True)
class Result:
    """One variant's line of the table.

    Attributes:
        changes: what its recipe changes, as lines of TOML
        diverged: the step whose loss was NaN or infinite
        steps, losses: every validation, nats per token; NaN and infinity are None
        loss, average_loss, bleu, chrf: of the last validation; scores are of greedy translations
        tokens_per_second: target tokens, the median of the logged lines
    """

    name: str
    claim: str
    group: str
    changes: tuple[str, ...]
    parameters: int
    diverged: int | None
    steps: tuple[int, ...]
    losses: tuple[float | None, ...]
    loss: float | None
    average_loss: float | None
    bleu: float | None
    chrf: float | None
    signatures: tuple[str, ...]
    tokens_per_second: float | None

    @property
    def step(self) -> int:
        """The last validated step."""
        return self.steps[-1] if self.steps else 0


def read_result(
    checkpoint: CheckpointFolder,
    name: str,
    claim: str,
    group: str,
    changes: tuple[str, ...],
    diverged: int | None,
) -> Result:
    """The result of the training in a folder, as far as it has come."""
    path = checkpoint.metrics
    text = path.read_text("utf-8") if path.exists() else ""
    lines = [json.loads(line) for line in text.splitlines()]
    validations = [line for line in lines if "validation_loss" in line]
    last: dict[str, Any] = validations[-1] if validations else {}
    speeds = series(lines, "tokens_per_second")[1]
    steps, losses = series(lines, "validation_loss")
    with torch.device("meta"):
        model = build_transformer(checkpoint.read_config())
    return Result(
        name=name,
        claim=claim,
        group=group,
        changes=changes,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        diverged=diverged,
        steps=tuple(steps),
        losses=tuple(_finite(loss) for loss in losses),
        loss=_finite(last.get("validation_loss")),
        average_loss=_finite(last.get("average_loss")),
        bleu=last.get("bleu"),
        chrf=last.get("chrf"),
        signatures=tuple(last[key] for key in ("bleu_signature", "chrf_signature") if key in last),
        tokens_per_second=statistics.median(speeds) if speeds else None,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def write_results(results: Sequence[Result], folder: Path) -> None:
    """Write results.md, results.json and study.png, each whole or not at all."""
    tree = [dataclasses.asdict(result) for result in results]
    write_text(folder / JSON, json.dumps(tree, indent=2, ensure_ascii=False) + "\n")
    write_text(folder / TABLE, as_table(results))
    draw_study(results, folder / PICTURE)


def as_table(results: Sequence[Result]) -> str:
    """The results in Markdown, and how each variant's recipe differs from the base."""
    if not results:
        return "No variant has begun.\n"
    baseline = results[0]
    columns = [
        ["group", *(r.group for r in results)],
        ["variant", *(r.name for r in results)],
        ["what it is", *(r.claim.replace("|", "\\|") for r in results)],
        ["parameters", *(f"{r.parameters:,}" for r in results)],
        ["validation loss", *(_loss(r, baseline) for r in results)],
        ["difference", *(_difference(r, baseline) for r in results)],
        ["averaged weights", *(_last(r, r.average_loss, ".3f") for r in results)],
        ["BLEU", *(_last(r, r.bleu, ".1f") for r in results)],
        ["chrF", *(_last(r, r.chrf, ".1f") for r in results)],
        ["tokens/s", *(_number(r.tokens_per_second, ",.0f") for r in results)],
    ]
    if all(r.average_loss == r.loss for r in results):  # averages of a single checkpoint
        columns = [column for column in columns if column[0] != "averaged weights"]
    cells = [_aligned(column, left=index < TEXTS) for index, column in enumerate(columns)]
    lines = [f"| {' | '.join(row)} |" for row in zip(*cells, strict=True)]
    signatures = f" ({'; '.join(baseline.signatures)})" if baseline.signatures else ""
    lines += ["", f"Losses in nats per target token; scores of greedy translations{signatures}."]
    lines += ["", "What each changes of the base recipe:", ""]
    lines += [
        f"- {result.name}: {', '.join(f'`{change}`' for change in result.changes) or 'nothing'}"
        for result in results
    ]
    return "\n".join(lines) + "\n"


def _aligned(column: Sequence[str], *, left: bool) -> list[str]:
    """A heading and its cells in one width, with Markdown's rule between them."""
    width = max(map(len, column))
    rule = "-" * width if left else "-" * (width - 1) + ":"
    heading, *cells = [cell.ljust(width) if left else cell.rjust(width) for cell in column]
    return [heading, rule, *cells]


def _loss(result: Result, baseline: Result) -> str:
    """The last loss, or why there is none to compare."""
    if result.diverged is not None:
        return f"diverged at step {result.diverged}"
    loss = _number(result.loss, ".3f")
    return loss if result.step in (0, baseline.step) else f"{loss} (step {result.step})"


def _difference(result: Result, baseline: Result) -> str:
    same = result.diverged is None and result.step == baseline.step and result is not baseline
    if not same or result.loss is None or baseline.loss is None:
        return "–"
    return f"{result.loss - baseline.loss:+.3f}"


def _last(result: Result, value: float | None, form: str) -> str:
    """A value of the last validation, which says nothing of what diverged after it."""
    return _number(None if result.diverged is not None else value, form)


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def draw_study(results: Sequence[Result], image: Path) -> None:
    """Draw validation losses against steps, a panel per group with the first variant in each."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if not results:
        return
    baseline, others = results[0], results[1:]
    losses = [loss for result in results for loss in result.losses if loss is not None]
    ceiling = 1.5 * max((loss for loss in baseline.losses if loss is not None), default=math.inf)
    groups = list(dict.fromkeys(result.group for result in others)) or [baseline.group]
    columns = min(3, len(groups))
    rows = math.ceil(len(groups) / columns)
    figure = Figure(figsize=(4.3 * columns, 3.5 * rows), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for axes, group in zip(panels, groups, strict=False):
        members = [result for result in others if result.group == group]
        colors = itertools.chain(["#4a4a4a"], itertools.cycle(COLORS))
        for result, color in zip((baseline, *members), colors, strict=False):
            values = [math.nan if loss is None else loss for loss in result.losses]
            label = f"{result.name}  {_loss(result, baseline)}"
            if values and min(values) > ceiling:
                label += " (off the scale)"
            style, order = ("--", 3) if result is baseline else ("-", 2)
            axes.plot(
                result.steps,
                values,
                style,
                label=label,
                color=color,
                linewidth=1.4,
                zorder=order,
                marker=".",
                markersize=4,
            )
            if result.diverged is not None and result.steps:
                axes.plot(result.steps[-1], values[-1], "x", color=color, markersize=9)
        axes.set_title(group, loc="left", fontsize=10, fontweight="bold")
        axes.set_xlim(left=0)
        if max(losses, default=0) > ceiling:  # or one bad start would flatten every curve
            axes.set_ylim(top=ceiling, bottom=0.95 * min(losses))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    for axes in panels[len(groups) :]:
        axes.set_axis_off()
    figure.supxlabel("update", fontsize=9)
    figure.supylabel("validation loss, nats per token", fontsize=9)
    with replace_file(image) as partial:
        figure.savefig(partial, format="png")
