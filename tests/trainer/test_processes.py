"""Several processes under torchrun are one training: the same steps, files and resumption."""

import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import capitals
from helpers.capitals import write_corpus
from safetensors.torch import load_file

from tfm.trainer import checkpoint as files
from tfm.trainer.config import load_recipe
from tfm.trainer.errors import TrainError
from tfm.trainer.prepare import prepare
from tfm.trainer.processes import Processes, _backend
from tfm.trainer.train import Trainer, train

RECIPE = capitals.RECIPE.replace("max_steps = 14", "max_steps = 12").replace(
    "accumulate_steps = 2", "accumulate_steps = 3"
)
WORKER = """
import os, sys
from pathlib import Path
Path(sys.argv.pop(1), os.environ["RANK"]).write_text(str(os.getpid()))
from tfm.trainer.commands.train import train
train()
"""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def recipe_path(tmp_path: Path) -> Path:
    write_corpus(tmp_path)
    (tmp_path / "recipe.toml").write_text(RECIPE, "utf-8")
    return tmp_path / "recipe.toml"


@contextmanager
def torchrun(
    count: int, folder: Path, *arguments: str, worker: str = WORKER
) -> Iterator[subprocess.Popen[str]]:
    """`torchrun --nproc-per-node COUNT tfm train ...`, each process noting its id in folder."""
    script = folder / "worker.py"
    script.write_text(worker, "utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(count), str(script), str(folder), *arguments]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def losses(folder: Path) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in metrics(folder) if "loss" in line}


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / files.METRICS).read_text("utf-8").splitlines()]


def wait_for_steps(process: subprocess.Popen[str], folder: Path, steps: int) -> None:
    deadline = time.monotonic() + 120
    log = folder / files.METRICS
    while not log.exists() or len(log.read_bytes().splitlines()) < steps:
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def assert_same_training(folder: Path, expected: Path) -> None:
    """To rounding: gradients are added up in another order."""
    ours, theirs = losses(folder), losses(expected)
    assert list(ours) == list(theirs)
    assert list(ours.values()) == pytest.approx(list(theirs.values()), rel=1e-4)
    weights, others = load_file(folder / files.MODEL), load_file(expected / files.MODEL)
    for name, value in weights.items():
        torch.testing.assert_close(value, others[name], rtol=1e-2, atol=1e-3)


def test_two_processes_are_one_training(recipe_path: Path, tmp_path: Path) -> None:
    """Three batches an update, so that one process has two of them."""
    shared, alone = tmp_path / "shared", tmp_path / "alone"
    with torchrun(2, tmp_path, str(recipe_path), "--out", str(shared)) as process:
        stdout, stderr = process.communicate(timeout=180)
    assert process.returncode == 0, stderr[-3000:]
    assert stdout == ""
    assert stderr.count("done: 12 steps") == 1
    assert stderr.count("step 10: validation loss") == 1
    train(load_recipe(recipe_path), alone, resume=False)
    assert_same_training(shared, alone)
    assert {p.name for p in shared.iterdir()} == {p.name for p in alone.iterdir()}
    assert len(metrics(shared)) == len(metrics(alone))


def test_stopped_with_two_processes_and_resumed_with_one_is_unbroken(
    recipe_path: Path, tmp_path: Path
) -> None:
    text = RECIPE.replace("max_steps = 12", "max_steps = 1000000")
    recipe_path.write_text(text, "utf-8")
    stopped, alone = tmp_path / "stopped", tmp_path / "alone"
    with torchrun(2, tmp_path, str(recipe_path), "--out", str(stopped)) as process:
        wait_for_steps(process, stopped, 8)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode != 0
    step = metrics(stopped)[-1]["step"]
    assert stderr.count(f"stopped at step {step}; continue with: tfm train") == 1
    assert files.CheckpointFolder(stopped).read_state().step == step

    recipe_path.write_text(RECIPE.replace("max_steps = 12", f"max_steps = {step + 4}"), "utf-8")
    recipe = load_recipe(recipe_path)
    train(recipe, stopped, resume=True)
    train(recipe, alone, resume=False)
    assert_same_training(stopped, alone)


def test_a_killed_process_ends_the_training_and_the_state_is_whole(
    recipe_path: Path, tmp_path: Path
) -> None:
    recipe_path.write_text(RECIPE.replace("max_steps = 12", "max_steps = 1000000"), "utf-8")
    folder = tmp_path / "checkpoint"
    with torchrun(2, tmp_path, str(recipe_path), "--out", str(folder)) as process:
        wait_for_steps(process, folder, 8)
        os.kill(int((tmp_path / "1").read_text()), signal.SIGKILL)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode != 0
    lines = [
        line
        for line in stderr.splitlines()
        if "Error: process 0: another process of this training ended (" in line
    ]
    last = folder / files.LAST
    assert len(lines) == 1
    assert lines[0].endswith(f"; the state in {last} is whole")
    state = files.CheckpointFolder(folder).read_state()
    assert state.step == metrics(folder)[-1]["step"] >= 7  # the first one saved it
    recipe_path.write_text(
        RECIPE.replace("max_steps = 12", f"max_steps = {state.step + 1}"), "utf-8"
    )
    train(load_recipe(recipe_path), folder, resume=True)
    assert losses(folder)[state.step + 1] > 0


def test_errors_are_said_once(recipe_path: Path, tmp_path: Path) -> None:
    (tmp_path / "train.tsv").unlink()
    with torchrun(2, tmp_path, str(recipe_path), "--out", str(tmp_path / "out")) as process:
        _, stderr = process.communicate(timeout=120)
    assert process.returncode != 0
    assert stderr.count("train.tsv: corpus not found") == 1
    assert "another process" not in stderr


def test_an_error_of_one_process_is_said_by_the_first(recipe_path: Path, tmp_path: Path) -> None:
    """Before hours of tokenizing, here."""
    broken = f"""
import os, tfm.trainer.train as loop
from tfm.trainer.errors import TrainError
def no_device(*_):
    raise TrainError("there are 1")
if os.environ["RANK"] == "1":
    loop.choose_device = no_device
{WORKER}"""
    arguments = [str(recipe_path), "--out", str(tmp_path / "out")]
    with torchrun(2, tmp_path, *arguments, worker=broken) as process:
        _, stderr = process.communicate(timeout=120)
    assert process.returncode != 0
    errors = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    assert errors == ["Error: process 1: there are 1"]
    assert not (tmp_path / "out").exists()


def test_what_needs_one_process_refuses_more(recipe_path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_path)
    model = dataclasses.replace(recipe.model, ablations=("batch_norm",))
    with pytest.raises(TrainError, match="batch_norm keeps statistics of one process"):
        train(
            dataclasses.replace(recipe, model=model),
            tmp_path / "out",
            resume=False,
            processes=Processes(count=2),
        )
    folder = tmp_path / "alone"
    folder.mkdir()
    recipe = dataclasses.replace(recipe, model=model)
    prepare(recipe, files.CheckpointFolder(folder), resume=False, init=None)
    plain = load_recipe(recipe_path)  # as with --init, where the recipe's ablations do not count
    with pytest.raises(TrainError, match="batch_norm keeps statistics of one process"):
        Trainer(
            plain,
            files.CheckpointFolder(folder),
            torch.device("cpu"),
            Processes(count=2),
        )


def test_numbers_and_states_go_by_the_cpu_beside_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch 2.6 and later have no collectives of CPU tensors where only NCCL is asked for."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: True)
    assert _backend() == "cpu:gloo,cuda:nccl"
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: False)
    assert _backend() == "gloo"


def test_more_processes_than_batches_are_refused(recipe_path: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="accumulate_steps is 3, fewer than the 4 processes"):
        train(
            load_recipe(recipe_path),
            tmp_path / "out",
            resume=False,
            processes=Processes(count=4),
        )


def test_batches_are_shared_out() -> None:
    shares = [Processes(rank, 3).shard("abcdefgh") for rank in range(3)]
    assert shares[1] == [(1, "b"), (4, "e"), (7, "h")]
    assert sorted(itertools.chain(*shares)) == list(enumerate("abcdefgh"))
    assert Processes(2, 3).shard("ab") == []
