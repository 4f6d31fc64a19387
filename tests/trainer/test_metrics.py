"""metrics.jsonl, and the same figures as TensorBoard reads them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tfm.trainer import checkpoint as files
from tfm.trainer.metrics import MetricsLog
from tfm.trainer.training_state import TrainingState

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def written(folder: Path, state: TrainingState, steps: range) -> None:
    """Steps of 2 tokens and a loss of `step` nats each, logged every second step."""
    with MetricsLog(files.CheckpointFolder(folder), state, tensorboard=True) as log:
        for step in steps:
            state.step = step
            log.add(state, float(step), 2, 3_000_000)
            if step % 2 == 0:
                log.write(state, 0.1)
        log.append({"step": steps[-1], "bleu": 12.5, "bleu_signature": "words"})


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    events: Any = event_accumulator.EventAccumulator(str(folder / files.TENSORBOARD))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard_holds_the_lines_of_metrics_jsonl(tmp_path: Path) -> None:
    written(tmp_path, TrainingState(), range(1, 5))
    text = (tmp_path / files.METRICS).read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["step"], line["loss"]) for line in lines if "loss" in line] == [
        (2, (1 + 2) / 4),
        (4, (3 + 4) / 4),
    ]
    assert scalars(tmp_path, "loss") == [(2, 0.75), (4, 1.75)]
    assert scalars(tmp_path, "bleu") == [(4, 12.5)]


def test_resuming_hides_what_came_after_the_state_from_tensorboard(tmp_path: Path) -> None:
    written(tmp_path, TrainingState(), range(1, 9))
    written(tmp_path, TrainingState(step=4), range(5, 7))
    assert [step for step, _ in scalars(tmp_path, "loss")] == [2, 4, 6]


def test_of_several_processes_one_writes(tmp_path: Path) -> None:
    folder, state = files.CheckpointFolder(tmp_path), TrainingState(step=1)
    with MetricsLog(folder, state, writes=False, tensorboard=True) as log:
        log.add(state, 3.0, 2, 5)
        line = log.write(state, 0.1)
    assert line["loss"] == 1.5
    assert list(tmp_path.iterdir()) == []


def test_speeds_leave_pauses_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 101.0, 102.0, 106.0])
    monkeypatch.setattr("tfm.trainer.metrics.time.perf_counter", lambda: next(clock))
    state = TrainingState(step=1)
    with MetricsLog(files.CheckpointFolder(tmp_path), state, peak_tflops=8.0) as log:
        log.add(state, 1.0, 5, 3 * 10**12)
        with log.paused():  # for 100 s
            log.add(state, 1.0, 5, 10**12)
        first = log.write(state, 0.1)  # 4 * 10**12 in 2 s
        log.add(state, 1.0, 12, 4 * 10**12)
        second = log.write(state, 0.1)  # in 4 s
    assert (first["tokens_per_second"], second["tokens_per_second"]) == (5.0, 3.0)
    assert (first["tflops"], first["mfu"]) == (2.0, 0.25)
    assert (second["tflops"], second["mfu"]) == (1.0, 0.125)
