"""Stopping and resuming: a training that was interrupted is the one that was not."""

import dataclasses
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training import (
    assert_same_training,
    call_at,
    change,
    copy_recipe,
    make_trainer,
    metrics,
)

from tfm.trainer import checkpoint as files
from tfm.trainer import validation
from tfm.trainer.config import load_recipe
from tfm.trainer.errors import TrainError
from tfm.trainer.stopping import Interrupted
from tfm.trainer.train import train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("number", "step"), [(signal.SIGINT, 7), (signal.SIGTERM, 10), (signal.SIGTERM, 3)]
)
def test_stopped_and_resumed_is_unbroken(
    number: signal.Signals,
    step: int,
    recipe_path: Path,
    unbroken: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe, before = load_recipe(recipe_path), signal.getsignal(number)
    with monkeypatch.context() as patch:
        call_at(patch, step, lambda: signal.raise_signal(number))
        with pytest.raises(Interrupted) as stop:
            train(recipe, tmp_path, resume=False)
    assert (stop.value.step, stop.value.signal_number) == (step, number)
    assert signal.getsignal(number) == before
    lines = [line for line in metrics(unbroken) if line["step"] <= step]
    if "chrf" in lines[-1]:
        lines.pop()  # the next run validates
    assert metrics(tmp_path) == lines

    torch.rand(5)  # a resumed run must not depend on the random state it finds
    state = train(recipe, tmp_path, resume=True)
    assert state.step == 14
    assert_same_training(tmp_path, unbroken)


def test_stopped_between_logged_steps_logs_the_same(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = change(load_recipe(recipe_path), log_steps=4, max_steps=4)
    train(recipe, tmp_path / "unbroken", resume=False)
    with monkeypatch.context() as patch:
        call_at(patch, 2, lambda: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Interrupted):
            train(recipe, tmp_path / "stopped", resume=False)
    train(recipe, tmp_path / "stopped", resume=True)
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "unbroken")


def test_killed_training_goes_back_to_its_last_state(
    recipe_path: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is saved on the way out: metrics and weights after step 5 are stale."""

    class Killed(Exception):
        pass

    def kill(*_: object) -> None:
        raise Killed

    recipe = load_recipe(recipe_path)
    save = files.CheckpointFolder.save_state
    with monkeypatch.context() as patch:
        patch.setattr(
            files.CheckpointFolder,
            "save_state",
            lambda folder, model, optimizer, state: (
                kill() if state.step == 10 else save(folder, model, optimizer, state)
            ),
        )
        with pytest.raises(Killed):
            train(recipe, tmp_path, resume=False)
    assert metrics(tmp_path)[-1]["step"] == 10
    # as validations at other steps would have left it
    recent = tmp_path / files.RECENT
    (recent / "step-00000010.safetensors").rename(recent / "step-00000012.safetensors")
    train(recipe, tmp_path, resume=True)
    assert_same_training(tmp_path, unbroken)


@pytest.mark.parametrize("step", [5, 10])
def test_killed_while_the_curves_are_drawn(
    step: int, recipe_path: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The validation's line is in metrics.jsonl, and the state that says so is not saved."""

    class Killed(BaseException):
        pass

    calls = itertools.count(1)

    def kill(*_: object) -> None:
        if next(calls) == step // 5:
            raise Killed

    recipe = load_recipe(recipe_path)
    with monkeypatch.context() as patch:
        patch.setattr("tfm.trainer.train.draw_curves", kill)
        with pytest.raises(Killed):
            train(recipe, tmp_path, resume=False)
    assert "validation_loss" in metrics(tmp_path)[-1]
    train(recipe, tmp_path, resume=True)
    assert_same_training(tmp_path, unbroken)


def test_process_stopped_by_sigterm_and_resumed_is_unbroken(
    recipe_path: Path, tmp_path: Path
) -> None:
    endless = copy_recipe(recipe_path, tmp_path, "max_steps = 14", "max_steps = 1000000")
    text = endless.read_text("utf-8").replace('precision = "fp32"', 'precision = "bf16"')
    endless.write_text(text, "utf-8")
    stopped = tmp_path / "stopped"
    command = [
        sys.executable,
        "-c",
        "from tfm.trainer.commands.train import train; train()",
        str(endless),
    ]
    with subprocess.Popen(
        [*command, "--out", str(stopped), "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        try:
            deadline = time.monotonic() + 120
            log = stopped / files.METRICS
            while not log.exists() or len(log.read_bytes().splitlines()) < 8:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.005)
            process.send_signal(signal.SIGTERM)
            stdout, stderr = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    assert stdout == ""
    step = metrics(stopped)[-1]["step"]
    assert f"stopped at step {step}; continue with: tfm train" in stderr
    assert "Traceback" not in stderr

    recipe = change(load_recipe(endless), max_steps=step + 4)
    train(recipe, stopped, resume=True)
    train(recipe, tmp_path / "unbroken", resume=False)
    assert_same_training(stopped, tmp_path / "unbroken")


@pytest.mark.parametrize("part", ["validation_loss", "translate"])
def test_stopped_while_validating_and_resumed_is_unbroken(
    part: str, recipe_path: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = getattr(validation, part), itertools.count(1)

    def stopped(*arguments: Any, **options: Any) -> Any:
        # The second validation of the two, at step 10.
        if next(calls) == (3 if part == "validation_loss" else 2):
            signal.raise_signal(signal.SIGTERM)
        return whole(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(validation, part, stopped)
        with pytest.raises(Interrupted) as stop:
            train(load_recipe(recipe_path), tmp_path, resume=False)
    assert stop.value.step == 10
    assert not any("chrf" in line for line in metrics(tmp_path) if line["step"] == 10)
    train(load_recipe(recipe_path), tmp_path, resume=True)
    assert_same_training(tmp_path, unbroken)


@pytest.mark.parametrize("step", [5, 10])
def test_a_validation_that_fails_costs_no_steps(
    step: int, recipe_path: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = validation.translate, itertools.count(1)

    def failing(*arguments: Any, **options: Any) -> list[str]:
        if next(calls) == step // 5:
            raise RuntimeError("no memory for the beam")
        return whole(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(validation, "translate", failing)
        with pytest.raises(RuntimeError, match="no memory"):
            train(load_recipe(recipe_path), tmp_path, resume=False)
    assert files.CheckpointFolder(tmp_path).read_state().step == step
    train(load_recipe(recipe_path), tmp_path, resume=True)
    assert_same_training(tmp_path, unbroken)


def test_nothing_of_the_state_stays_mapped(recipe_path: Path, unbroken: Path) -> None:
    """Windows would let nothing be put in the file's place."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("no list of mapped files here")
    recipe = load_recipe(recipe_path)
    trainer = make_trainer(recipe, unbroken, unbroken)
    trainer.resume()
    assert "tokens" in maps.read_text()  # what stays mapped is seen
    assert files.LAST not in maps.read_text()
    assert trainer.state.step == 14


def test_finished_training_resumed_changes_nothing(
    recipe_path: Path, unbroken: Path, tmp_path: Path
) -> None:
    contents = {path: path.read_bytes() for path in unbroken.iterdir() if path.is_file()}
    state = train(load_recipe(recipe_path), unbroken, resume=True)
    assert state.step == 14
    assert {path: path.read_bytes() for path in contents} == contents


def test_resume_of_nothing_is_a_start(recipe_path: Path, unbroken: Path, tmp_path: Path) -> None:
    train(load_recipe(recipe_path), tmp_path / "new", resume=True)
    assert_same_training(tmp_path / "new", unbroken)


def test_resume_with_another_model_is_refused(
    recipe_path: Path, tmp_path: Path, unbroken: Path
) -> None:
    recipe = load_recipe(recipe_path)
    wider = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, d_ff=20))
    with pytest.raises(TrainError, match="was trained with d_ff 16, not 20: use that recipe"):
        train(wider, unbroken, resume=True)


def test_resume_with_another_vocabulary_is_refused(
    recipe_path: Path, tmp_path: Path, unbroken: Path
) -> None:
    recipe = load_recipe(recipe_path)
    smaller = dataclasses.replace(recipe.vocabulary, size=270)
    with pytest.raises(TrainError, match="was trained with size 275, not 270: use that recipe"):
        train(dataclasses.replace(recipe, vocabulary=smaller), unbroken, resume=True)


def test_resume_with_another_optimizer_keeps_the_weights_alone(
    recipe_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = load_recipe(recipe_path)
    state = train(change(recipe, max_steps=6), tmp_path, resume=False)
    loss = state.best_loss
    for optimizer in ("muon", "adam"):
        caplog.clear()
        changed = change(recipe, max_steps=state.step + 6, optimizer=optimizer)
        state = train(changed, tmp_path, resume=True)
        assert "another optimizer: its moments begin anew" in caplog.text
        assert state.optimizer == optimizer
    assert state.best_loss < loss
    caplog.clear()
    train(change(recipe, max_steps=state.step + 2), tmp_path, resume=True)
    assert "another optimizer" not in caplog.text


def test_max_steps_lowered_ends_with_a_validation(
    recipe_path: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(recipe_path)
    call_at(monkeypatch, 8, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Interrupted):
        train(recipe, tmp_path, resume=False)
    state = train(change(recipe, max_steps=6), tmp_path, resume=True)
    assert (state.step, state.validated_step) == (8, 8)


def test_recipe_that_continued_is_kept(recipe_path: Path, unbroken: Path, tmp_path: Path) -> None:
    path = copy_recipe(recipe_path, tmp_path, "max_steps = 14", "max_steps = 15")
    folder = shutil.copytree(unbroken, tmp_path / "continued")
    train(load_recipe(path), folder, resume=True)
    assert (folder / files.RECIPE).read_text("utf-8") == path.read_text("utf-8")
