"""Validation: which weights its files get, and when it ends a training."""

import dataclasses
import itertools
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training import assert_same_training, change, copy_recipe, make_trainer, metrics
from safetensors.torch import load_file

from tfm.trainer import checkpoint as files
from tfm.trainer import train as loop
from tfm.trainer import validation
from tfm.trainer.bleu import Scores
from tfm.trainer.config import load_recipe
from tfm.trainer.train import train
from tfm.trainer.training_state import TrainingState

pytestmark = pytest.mark.usefixtures("one_thread")


def test_losses_of_the_files_are_those_in_the_metrics(unbroken: Path, recipe_path: Path) -> None:
    trainer = make_trainer(load_recipe(recipe_path), unbroken, unbroken)
    validations = [line for line in metrics(unbroken) if "validation_loss" in line]

    def loss_of(name: str) -> float:
        files.load_weights(trainer.model, files.read_weights(unbroken / name))
        return trainer.validation.loss(trainer.model)

    current = [line["validation_loss"] for line in validations]
    average = [line["average_loss"] for line in validations]
    assert loss_of(files.BEST) == pytest.approx(min(current), rel=1e-5)
    assert loss_of(files.MODEL) == pytest.approx(min(current + average), rel=1e-5)
    assert loss_of(files.AVERAGE) == pytest.approx(average[-1], rel=1e-5)


def test_files_are_chosen_by_validation_loss(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripted losses of the weights and of their average, per validation."""
    script = [(5.0, 6.0), (4.0, 3.0), (4.5, 3.5), (3.5, 2.9), (2.8, 3.0), (9.0, 9.0)]
    losses = iter(itertools.chain(*script))
    monkeypatch.setattr(validation, "validation_loss", lambda *_: next(losses))
    recipe = change(load_recipe(recipe_path), validate_steps=1, max_steps=6, average_checkpoints=3)
    expected_best, expected_model = [1, 2, 2, 4, 5, 5], ["1", "1-2", "1-2", "2-4", "5", "5"]
    history: list[dict[str, torch.Tensor]] = []
    seen = []

    def equal(name: str, expected: dict[str, torch.Tensor]) -> bool:
        found = load_file(tmp_path / name)
        return all(torch.allclose(found[k], v, rtol=1e-5, atol=1e-7) for k, v in expected.items())

    def mean(first: int, last: int) -> dict[str, torch.Tensor]:
        chosen = history[first - 1 : last]
        return {k: sum(w[k].double() for w in chosen).div(len(chosen)).float() for k in chosen[0]}

    def check(folder: Any, model: Any, _optimizer: Any, state: TrainingState) -> None:
        if state.validated_step != state.step:
            return  # before the first validation
        history.append({k: v.clone() for k, v in files.weights_of(model).items()})
        step = state.step
        assert equal(files.BEST, history[expected_best[step - 1] - 1])
        steps = [int(s) for s in expected_model[step - 1].split("-")]
        assert equal(files.MODEL, mean(steps[0], steps[-1]))
        assert equal(files.AVERAGE, mean(max(1, step - 2), step))
        assert state.best_step == expected_best[step - 1]
        assert state.exported_loss == min(itertools.chain(*script[:step]))
        seen.append(step)

    monkeypatch.setattr(files.CheckpointFolder, "save_state", check)
    state = train(recipe, tmp_path, resume=False)
    assert seen == [1, 2, 3, 4, 5, 6]
    assert state.best_loss == 2.8
    lines = [line for line in metrics(tmp_path) if "validation_loss" in line]
    assert [(line["validation_loss"], line["average_loss"]) for line in lines] == script


def test_with_another_validation_corpus_the_best_begins_anew(
    recipe_path: Path,
    unbroken: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On which every loss is worse than the best before."""
    folder = shutil.copytree(unbroken, tmp_path / "checkpoint")
    path = copy_recipe(recipe_path, tmp_path, "max_steps = 14", "max_steps = 15")
    valid = tmp_path / "valid.tsv"
    before = files.CheckpointFolder(folder).read_state()
    losses = iter([9.0, 8.0, 10.0, 11.0])
    monkeypatch.setattr(validation, "validation_loss", lambda *_: next(losses))
    valid.write_text(valid.read_text("utf-8") + "ab\tBA\n", "utf-8")
    state = train(load_recipe(path), folder, resume=True)
    assert "another validation corpus: what is best begins anew" in caplog.text
    assert before.exported_loss < 8
    assert (state.exported_loss, state.best_loss, state.best_step) == (8.0, 9.0, 15)
    model, average = load_file(folder / files.MODEL), load_file(folder / files.AVERAGE)
    assert all(torch.equal(model[name], average[name]) for name in average)
    state = train(change(load_recipe(path), max_steps=16), folder, resume=True)
    assert (state.exported_loss, state.best_loss, state.best_step) == (8.0, 9.0, 15)
    assert caplog.text.count("another validation corpus") == 1


def test_a_finished_training_is_validated_on_another_corpus(
    recipe_path: Path, unbroken: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(unbroken, tmp_path / "checkpoint")
    shutil.copytree(recipe_path.parent, tmp_path, dirs_exist_ok=True)
    valid = tmp_path / "valid.tsv"
    valid.write_text(valid.read_text("utf-8") + "ab\tBA\n", "utf-8")
    state = train(load_recipe(tmp_path / "recipe.toml"), folder, resume=True)
    assert (state.step, state.validated_step, state.best_step) == (14, 14, 14)
    assert math.isfinite(state.exported_loss)
    line = metrics(folder)[-1]
    assert state.exported_loss == min(line["validation_loss"], line["average_loss"])
    before = metrics(unbroken)
    assert metrics(folder)[:-1] == before[:-1]  # the other corpus's line is replaced
    assert line["step"] == before[-1]["step"] == 14
    assert files.CheckpointFolder(folder).read_state() == state


@pytest.mark.parametrize(
    "changed", [{"validation_max_sentences": 2}, {"validation_max_length": 7}, {}]
)
def test_chrf_of_another_sample_begins_anew(
    changed: dict[str, Any],
    recipe_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = iter([50.0, 40.0, 5.0, 4.0])
    monkeypatch.setattr(validation, "score", lambda *_: Scores(0.0, next(found), "", ""))
    recipe = change(load_recipe(recipe_path), max_steps=2, validate_steps=1)
    before = train(recipe, tmp_path, resume=False)
    assert (before.best_chrf, before.best_chrf_step) == (50.0, 1)
    for max_steps in (3, 4):
        other = change(recipe, max_steps=max_steps, **changed)
        state = train(other, tmp_path, resume=True)
        assert (state.best_chrf, state.best_chrf_step) == ((5.0, 3) if changed else (50.0, 1))
        assert state.best_loss <= before.best_loss
    assert caplog.text.count("the best chrF begins anew") == bool(changed)


def test_states_that_do_not_name_their_sample_keep_their_chrf(
    recipe_path: Path, unbroken: Path, tmp_path: Path
) -> None:
    """As older versions saved them."""
    folder = files.CheckpointFolder(Path(shutil.copytree(unbroken, tmp_path / "checkpoint")))
    progress = dataclasses.asdict(folder.read_state())
    del progress["sample"]
    content = {name: tensor.clone() for name, tensor in load_file(folder.last).items()}
    files.write_weights(folder.last, content, {"progress": json.dumps(progress)})
    recipe = change(load_recipe(recipe_path), validation_max_length=7)
    state = train(recipe, folder.path, resume=True)
    assert (state.best_chrf, state.best_chrf_step) == (
        progress["best_chrf"],
        progress["best_chrf_step"],
    )


def test_training_stops_after_validations_without_gain(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([5.0, 9.0, 4.0, 9.0, 4.1, 9.0, 4.0, 9.0])
    monkeypatch.setattr(validation, "validation_loss", lambda *_: next(losses))
    recipe = change(load_recipe(recipe_path), validate_steps=2, stop_after_no_gain=2)
    state = train(recipe, tmp_path, resume=False)
    assert (state.step, state.best_step, state.best_loss) == (8, 4, 4.0)


def test_training_stops_at_validations_only(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the best one, the end of an earlier run, is at no multiple of validate_steps."""
    losses = iter([4.0, 9.0, 5.0, 9.0, 5.0, 9.0, 5.0, 9.0])
    monkeypatch.setattr(validation, "validation_loss", lambda *_: next(losses))
    recipe = change(load_recipe(recipe_path), max_steps=3, validate_steps=5)
    train(recipe, tmp_path, resume=False)
    longer = change(recipe, max_steps=100, stop_after_no_gain=2)
    state = train(longer, tmp_path, resume=True)
    assert (state.step, state.best_step) == (15, 3)
    assert files.CheckpointFolder(tmp_path).read_state().step == 15


def test_stops_without_gain_in_chrf(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss falls all the time."""
    losses = iter(float(loss) for loss in range(20, 0, -1))
    found = iter([5.0, 7.0, 6.9, 7.0, 9.0])
    monkeypatch.setattr(validation, "validation_loss", lambda *_: next(losses))
    monkeypatch.setattr(validation, "score", lambda *_: Scores(0.0, next(found), "", ""))
    recipe = load_recipe(recipe_path)
    recipe = change(recipe, validate_steps=2, stop_after_no_gain=2, stop_metric="chrf")
    state = train(recipe, tmp_path, resume=False)
    assert (state.step, state.best_chrf_step, state.best_chrf) == (8, 4, 7.0)


def test_samples_are_what_validation_translated(unbroken: Path) -> None:
    text = (unbroken / files.SAMPLES).read_text("utf-8")
    assert text.startswith("step 14, greedy\n")
    pairs = (unbroken / files.VALIDATION).read_text("utf-8").splitlines()
    for pair in pairs:
        source, reference = pair.split("\t")
        assert f"source     {source}\nreference  {reference}\noutput     " in text
    assert text.count("output") == len(pairs) == 3


def test_curves_that_cannot_be_written_stop_nothing(
    recipe_path: Path,
    unbroken: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def held(*_: Path) -> None:
        raise PermissionError(13, "held by a viewer")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "draw_curves", held)
        train(load_recipe(recipe_path), tmp_path, resume=False)
    assert caplog.text.count("curves.png: not drawn:") == 3
    assert_same_training(tmp_path, unbroken)
