"""curves.png: what metrics.jsonl says of a training, to look at."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfm.runtime.files.atomic import replace_file

Line = Mapping[str, Any]

# Panel by panel: title, and the keys of metrics.jsonl with what to call them.
PANELS: tuple[tuple[str, dict[str, str]], ...] = (
    (
        "loss, nats per token",
        {
            "loss": "training, smoothed labels",
            "validation_loss": "validation",
            "average_loss": "validation, averaged weights",
        },
    ),
    ("validation, greedy", {"bleu": "BLEU", "chrf": "chrF"}),
    ("learning rate", {"learning_rate": ""}),
    ("target tokens per second", {"tokens_per_second": ""}),
)
COLORS = ("#0b5cad", "#b85c00", "#4a4a4a")


def draw_curves(metrics: Path, image: Path) -> None:
    """Draw every step and validation of metrics.jsonl so far; image holds the old picture or the
    new one, never a part."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
    figure = Figure(figsize=(10, 6.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for index, (title, keys) in enumerate(PANELS):
        axes = figure.add_subplot(2, 2, index + 1)
        for color, (key, label) in zip(COLORS, keys.items(), strict=False):
            steps, values = series(lines, key)
            few = len(steps) < 40
            axes.plot(
                steps, values, label=label, color=color, linewidth=1.3, marker="." if few else None
            )
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
        axes.set_xlim(left=0)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        if len(keys) > 1:
            axes.legend(frameon=False, fontsize=8)
    figure.supxlabel("step", fontsize=9)
    with replace_file(image) as partial:
        figure.savefig(partial, format="png")


def series(lines: Sequence[Line], key: str) -> tuple[list[int], list[float]]:
    """Steps and values of the lines that hold the key."""
    points = [(line["step"], line[key]) for line in lines if key in line]
    return [step for step, _ in points], [value for _, value in points]
