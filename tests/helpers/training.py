"""A toy training for tests: changed, interrupted, and compared with another."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from helpers.capitals import RECIPE
from tfm.trainer import checkpoint as files
from tfm.trainer.config import Recipe
from tfm.trainer.prepare import prepare
from tfm.trainer.train import Trainer


def copy_recipe(recipe_path: Path, folder: Path, old: str, new: str) -> Path:
    """The recipe with one line changed, and its corpora, in a folder of a test."""
    shutil.copytree(recipe_path.parent, folder, dirs_exist_ok=True)
    assert RECIPE.count(old) == 1
    (folder / "recipe.toml").write_text(RECIPE.replace(old, new), "utf-8")
    return folder / "recipe.toml"


def change(recipe: Recipe, **training: Any) -> Recipe:
    return dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, **training))


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without what a clock says."""
    lines = (folder / files.METRICS).read_text("utf-8").splitlines()
    clock = ("seconds", "tokens_per_second", "tflops")
    return [{k: v for k, v in json.loads(line).items() if k not in clock} for line in lines]


def assert_same_training(folder: Path, expected: Path) -> None:
    assert metrics(folder) == metrics(expected)
    for name in (files.MODEL, files.BEST, files.AVERAGE, files.LAST):
        ours, theirs = load_file(folder / name), load_file(expected / name)
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert torch.equal(value, theirs[key]), (name, key)
    recent = [sorted(p.name for p in (f / files.RECENT).iterdir()) for f in (folder, expected)]
    assert recent[0] == recent[1]


def call_at(monkeypatch: pytest.MonkeyPatch, step: int, action: Callable[[], object]) -> None:
    """Let something happen in the middle of a step."""
    whole = Trainer._step

    def interrupted(self: Trainer, *arguments: Any) -> tuple[float, int, int]:
        if self.state.step + 1 == step:
            action()
        return whole(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", interrupted)


def make_trainer(recipe: Recipe, folder: Path, checkpoint: Path) -> Trainer:
    """One that has not begun, with the vocabulary of checkpoint."""
    if folder != checkpoint:
        folder.mkdir(exist_ok=True)
        prepare(recipe, files.CheckpointFolder(folder), resume=False, init=checkpoint)
    return Trainer(recipe, files.CheckpointFolder(folder), torch.device("cpu"))
