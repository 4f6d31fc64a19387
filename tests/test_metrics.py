"""metrics.jsonl, and the same figures as TensorBoard reads them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tfm.trainer import checkpoint as files
from tfm.trainer.metrics import MetricsLog

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def written(folder: Path, progress: files.Progress, steps: range) -> None:
    """Steps of 2 tokens and a loss of `step` nats each, logged every second step."""
    with MetricsLog(folder, progress, tensorboard=True) as log:
        for step in steps:
            progress = dataclasses.replace(progress, step=step)
            progress = log.add(progress, float(step), 2)
            if step % 2 == 0:
                _, progress = log.write(progress, 0.1)
        log.append({"step": steps[-1], "bleu": 12.5, "bleu_signature": "words"})


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    events: Any = event_accumulator.EventAccumulator(str(folder / files.TENSORBOARD))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard_holds_the_lines_of_metrics_jsonl(tmp_path: Path) -> None:
    written(tmp_path, files.Progress(), range(1, 5))
    text = (tmp_path / files.METRICS).read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["step"], line["loss"]) for line in lines if "loss" in line] == [
        (2, (1 + 2) / 4),
        (4, (3 + 4) / 4),
    ]
    assert scalars(tmp_path, "loss") == [(2, 0.75), (4, 1.75)]
    assert scalars(tmp_path, "bleu") == [(4, 12.5)]


def test_resuming_hides_what_came_after_the_state_from_tensorboard(tmp_path: Path) -> None:
    written(tmp_path, files.Progress(), range(1, 9))
    written(tmp_path, files.Progress(step=4), range(5, 7))
    assert [step for step, _ in scalars(tmp_path, "loss")] == [2, 4, 6]


def test_of_several_processes_one_writes(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, files.Progress(), writes=False, tensorboard=True) as log:
        progress = log.add(files.Progress(step=1), 3.0, 2)
        line, _ = log.write(progress, 0.1)
    assert line["loss"] == 1.5
    assert list(tmp_path.iterdir()) == []
