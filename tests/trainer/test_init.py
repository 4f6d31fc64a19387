"""Training that begins with the weights of another checkpoint (--init)."""

import dataclasses
import signal
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from helpers.training import (
    assert_same_training,
    call_at,
    change,
)
from safetensors.torch import load_file

from tfm.trainer import checkpoint as files
from tfm.trainer.commands.train import train as train_command
from tfm.trainer.config import load_model_config, load_recipe
from tfm.trainer.prepare import prepare
from tfm.trainer.train import train

pytestmark = pytest.mark.usefixtures("one_thread")


def test_init_begins_with_the_weights_and_the_vocabulary(
    recipe_path: Path, unbroken: Path, tmp_path: Path
) -> None:
    """With steps too small to change anything; the recipe's own model would be another."""
    recipe = change(load_recipe(recipe_path), max_steps=1, learning_rate=1e-30)
    model = dataclasses.replace(recipe.model, d_ff=20, norm="pre", dropout=0.0)
    recipe = dataclasses.replace(recipe, model=model)
    train(recipe, tmp_path, resume=False, init=unbroken)
    ours, theirs = load_file(tmp_path / files.MODEL), load_file(unbroken / files.MODEL)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for name in ("source.spm", "target.spm"):
        assert (tmp_path / name).read_bytes() == (unbroken / name).read_bytes()
    config = load_model_config(unbroken / files.CONFIG)
    assert load_model_config(tmp_path / files.CONFIG) == dataclasses.replace(config, dropout=0.0)


def test_init_takes_the_languages_of_the_recipe(
    recipe_path: Path, unbroken: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(recipe_path)
    data = dataclasses.replace(recipe.data, target_language="zh")
    prepare(
        dataclasses.replace(recipe, data=data),
        files.CheckpointFolder(tmp_path),
        resume=False,
        init=unbroken,
    )
    config = load_model_config(tmp_path / files.CONFIG)
    assert (config.source_language, config.target_language) == ("source", "zh")


def test_init_stopped_and_resumed_is_unbroken(
    recipe_path: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(recipe_path)
    wider = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, d_ff=20))
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(wider, whole, resume=False, init=unbroken)
    arguments = [str(recipe_path), "--out", str(stopped), "--threads", "1", "--init", str(unbroken)]
    with monkeypatch.context() as patch:
        patch.setattr("tfm.trainer.config.load_recipe", lambda _: wider)
        call_at(patch, 7, lambda: signal.raise_signal(signal.SIGTERM))
        result = CliRunner().invoke(train_command, arguments)
    assert result.exit_code == 143
    assert result.stderr.splitlines()[-1].endswith(f"--out {stopped} --resume --threads 1")
    train(wider, stopped, resume=True)  # the checkpoint it began from may be gone
    assert_same_training(stopped, whole)
