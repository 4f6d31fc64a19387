"""curves.png shows what metrics.jsonl says."""

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes

from tfm.trainer.curves import draw_curves, series

LINES: list[dict[str, Any]] = [
    {"step": 5, "loss": 3.0, "learning_rate": 1e-3, "tokens_per_second": 90.0},
    {"step": 10, "loss": 2.0, "learning_rate": 2e-3, "tokens_per_second": 95.0},
    {"step": 10, "validation_loss": 2.5, "average_loss": 2.4, "bleu": 1.5, "chrf": 20.0},
]


def test_every_figure_is_drawn_at_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}
    plot = Axes.plot

    def noted(self: Axes, steps: list[int], values: list[float], **options: Any) -> Any:
        drawn[options["label"]] = (steps, values)
        return plot(self, steps, values, **options)

    monkeypatch.setattr(Axes, "plot", noted)
    metrics, image = tmp_path / "metrics.jsonl", tmp_path / "curves.png"
    metrics.write_text("".join(json.dumps(line) + "\n" for line in LINES), "utf-8")
    image.write_bytes(b"old")
    draw_curves(metrics, image)
    assert drawn["training, smoothed labels"] == ([5, 10], [3.0, 2.0])
    assert drawn["validation"] == ([10], [2.5])
    assert drawn["validation, averaged weights"] == ([10], [2.4])
    assert drawn["BLEU"] == ([10], [1.5]) and drawn["chrF"] == ([10], [20.0])
    assert image.read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.jsonl", "curves.png"}


def test_a_training_without_validation_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "m").write_text(json.dumps(LINES[0]) + "\n", "utf-8")
    draw_curves(tmp_path / "m", tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 1000
    assert series(LINES[:1], "bleu") == ([], [])
