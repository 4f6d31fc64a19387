"""A toy recipe and the checkpoint of its training; tests copy what they change."""

from pathlib import Path

import pytest
import torch
from helpers.capitals import RECIPE, write_corpus

from tfm.trainer.config import load_recipe
from tfm.trainer.train import train


@pytest.fixture(scope="session")
def recipe_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe beside its corpora: letters to translate into their capitals."""
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    path = folder / "recipe.toml"
    path.write_text(RECIPE, "utf-8")
    return path


@pytest.fixture(scope="session")
def unbroken(recipe_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a training that nothing stopped."""
    folder = tmp_path_factory.mktemp("unbroken") / "checkpoint"
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    train(load_recipe(recipe_path), folder, resume=False)
    torch.set_num_threads(before)
    return folder
