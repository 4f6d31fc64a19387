"""The checkpoint folder before the first step: what is refused, removed and copied."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.capitals import RECIPE
from helpers.training import assert_same_training, call_at, change, copy_recipe

from tfm.trainer import checkpoint as files
from tfm.trainer.commands.train import train as train_command
from tfm.trainer.config import load_recipe
from tfm.trainer.errors import TrainError
from tfm.trainer.model import Transformer
from tfm.trainer.prepare import prepare
from tfm.trainer.train import train

pytestmark = pytest.mark.usefixtures("one_thread")


def test_existing_training_is_not_overwritten(recipe_path: Path, unbroken: Path) -> None:
    result = CliRunner().invoke(train_command, [str(recipe_path), "--out", str(unbroken)])
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert f"{unbroken} already holds a training; continue it with --resume" in result.stderr


def test_a_folder_has_one_training_at_a_time(
    recipe_path: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []

    def train_there_too() -> None:
        command = [str(recipe_path), "--out", str(tmp_path), "--resume"]
        result = CliRunner().invoke(train_command, command)
        said.append((result.exit_code, result.stderr))

    with monkeypatch.context() as patch:
        call_at(patch, 8, train_there_too)
        train(load_recipe(recipe_path), tmp_path, resume=False)
    expected = f"Error: another training is writing {tmp_path}: stop it first, or choose another"
    assert said == [(1, f"{expected} folder\n")]
    assert_same_training(tmp_path, unbroken)


def test_what_cannot_be_made_again_is_not_overwritten(
    recipe_path: Path, unbroken: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(recipe_path)
    with pytest.raises(TrainError, match="--init and --out are both"):
        train(recipe, unbroken, resume=False, init=unbroken)
    names = {
        "imported": [files.CONFIG, files.MODEL, "source.spm"],
        "exported": [files.CONFIG, files.RECIPE, "source.spm"],
        "stateless": [p.name for p in unbroken.iterdir() if p.is_file() and p.name != files.LAST],
    }
    for kind, chosen in names.items():
        folder = tmp_path / kind
        folder.mkdir()
        for name in chosen:
            shutil.copy(unbroken / name, folder / name)
        what = "a model that was not trained there" if kind == "exported" else "weights, but no"
        for resume in (False, True):
            with pytest.raises(TrainError, match=f"holds {what}"):
                train(recipe, folder, resume=resume)
        assert {path.name for path in folder.iterdir()} == set(chosen)
        for name in chosen:
            assert (folder / name).read_bytes() == (unbroken / name).read_bytes()


def test_a_recipe_in_the_folder_that_is_written(recipe_path: Path, tmp_path: Path) -> None:
    path = copy_recipe(recipe_path, tmp_path, "max_steps = 14", "max_steps = 1")
    train(load_recipe(path), tmp_path, resume=False)
    assert path.read_text("utf-8") == RECIPE.replace("max_steps = 14", "max_steps = 1")
    assert (tmp_path / files.MODEL).exists()


def test_a_new_training_takes_nothing_of_the_one_before(
    recipe_path: Path, unbroken: Path, tmp_path: Path
) -> None:
    """One that never came to save its state, and began from an imported model."""
    (tmp_path / files.ORIGIN).mkdir()
    (tmp_path / files.TOKENS).mkdir()
    for name in (files.CONFIG, files.RECIPE):
        shutil.copy(unbroken / name, tmp_path / name)
    recipe = change(load_recipe(recipe_path), max_steps=1)
    train(recipe, tmp_path, resume=False)
    assert not (tmp_path / files.ORIGIN).exists()


@pytest.mark.parametrize("changed", [None, "new_vocabulary", "larger"])
def test_an_imported_models_files_stay_with_the_model_they_describe(
    changed: str | None, recipe_path: Path, unbroken: Path, tmp_path: Path
) -> None:
    trained, vocabulary = files.load_checkpoint(unbroken)
    imported = files.CheckpointFolder(tmp_path / "imported")
    pre_norm = dataclasses.replace(trained.config, norm="pre")  # --grow takes no other
    imported.write(Transformer(pre_norm), vocabulary)
    imported.origin.mkdir()
    (imported.origin / "config.json").write_text('{"num_beams": 6}', "utf-8")
    folder = files.CheckpointFolder(tmp_path / "tuned")
    folder.path.mkdir()
    recipe = load_recipe(recipe_path)
    options = {} if changed is None else {changed: True}
    prepare(recipe, folder, resume=False, init=imported.path, **options)
    assert folder.origin.exists() == (changed is None)
