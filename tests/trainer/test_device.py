"""Device, precision and memory of a training."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from helpers.training import (
    assert_same_training,
    call_at,
    change,
    metrics,
)
from safetensors.torch import load_file

from tfm.trainer import checkpoint as files
from tfm.trainer import prepare as preparation
from tfm.trainer import train as loop
from tfm.trainer.commands.train import train as train_command
from tfm.trainer.config import load_model_config, load_recipe
from tfm.trainer.device import faster_precision
from tfm.trainer.errors import TrainError
from tfm.trainer.model import EncoderLayer
from tfm.trainer.train import train

pytestmark = pytest.mark.usefixtures("one_thread")


def test_no_cuda_no_training(recipe_path: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    recipe = change(load_recipe(recipe_path), device="cuda")
    with pytest.raises(TrainError, match="finds no CUDA device; use 'auto' or 'cpu'"):
        train(recipe, tmp_path, resume=False)


def test_precision_is_chosen_once(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a trial; who resumes on another machine goes on as it began."""
    used: list[bool] = []
    whole = loop.batch_loss

    def noted(*arguments: Any) -> Any:
        used.append(torch.is_autocast_enabled("cpu"))
        return whole(*arguments)

    monkeypatch.setattr(loop, "batch_loss", noted)
    for name in ("bf16", "fp32"):
        used.clear()
        monkeypatch.setattr(preparation, "faster_precision", lambda *_, name=name: name)
        recipe = change(load_recipe(recipe_path), precision="auto", max_steps=1)
        train(recipe, tmp_path / name, resume=False)
        monkeypatch.setattr(preparation, "faster_precision", lambda *_: "another")
        train(change(recipe, max_steps=2), tmp_path / name, resume=True)
        assert used == [name == "bf16"] * 4  # two updates of two batches
        assert files.CheckpointFolder(tmp_path / name).read_state().precision == name


@pytest.mark.parametrize(("slow_in_bf16", "precision"), [(True, "fp32"), (False, "bf16")])
def test_the_faster_precision_is_found(
    slow_in_bf16: bool, precision: str, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that runs ten times as fast in one of them."""
    now = [0.0]

    def forward(self: EncoderLayer, x: torch.Tensor, _bias: torch.Tensor) -> torch.Tensor:
        now[0] += 10.0 if torch.is_autocast_enabled("cpu") == slow_in_bf16 else 1.0
        return x

    monkeypatch.setattr("tfm.trainer.device.time.perf_counter", lambda: now[0])
    monkeypatch.setattr(EncoderLayer, "forward", forward)
    config = load_model_config(unbroken / files.CONFIG)
    assert faster_precision(config, torch.device("cpu")) == precision


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_out_of_memory_costs_no_steps(
    device: str,
    recipe_path: Path,
    unbroken: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full() -> None:
        def batch_loss(*_: Any) -> Any:
            if device == "cuda":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
            return torch.empty(2**60)

        monkeypatch.setattr(loop, "batch_loss", batch_loss)

    with monkeypatch.context() as patch:
        call_at(patch, 7, full)
        arguments = [str(recipe_path), "--out", str(tmp_path), "--threads", "1"]
        result = CliRunner().invoke(train_command, arguments)
        monkeypatch.undo()
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: the batch of step 7 does not fit into the memory of cpu: lower")
    assert last.endswith(f"the state in {tmp_path / files.LAST} is whole")
    assert files.CheckpointFolder(tmp_path).read_state().step == 6
    train(load_recipe(recipe_path), tmp_path, resume=True)
    assert_same_training(tmp_path, unbroken)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # torch's own
def test_compiled_layers_train_the_same(recipe_path: Path, tmp_path: Path) -> None:
    recipe = change(load_recipe(recipe_path), max_steps=3, validate_steps=3)
    recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, dropout=0.0))
    train(recipe, tmp_path / "eager", resume=False)
    train(change(recipe, compile=True), tmp_path / "compiled", resume=False)
    eager, compiled = (metrics(tmp_path / name) for name in ("eager", "compiled"))
    for ours, theirs in zip(compiled, eager, strict=True):
        key = "loss" if "loss" in theirs else "validation_loss"
        assert ours[key] == pytest.approx(theirs[key], rel=1e-4)
    ours, theirs = (load_file(tmp_path / name / files.MODEL) for name in ("compiled", "eager"))
    assert ours.keys() == theirs.keys()  # no wrapper's prefix: export reads it
