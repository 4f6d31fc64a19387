"""The training loop: stopping and resuming, what it writes, and when it refuses to go on."""

import dataclasses
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from helpers.capitals import RECIPE, write_corpus
from safetensors.torch import load_file

from tfm.trainer import checkpoint as files
from tfm.trainer import cli, validation
from tfm.trainer import train as loop
from tfm.trainer.bleu import Scores
from tfm.trainer.config import Recipe, load_model_config, load_recipe
from tfm.trainer.data.corpora import read_corpora
from tfm.trainer.device import faster_precision
from tfm.trainer.errors import TrainError
from tfm.trainer.model import EncoderLayer
from tfm.trainer.prepare import prepare
from tfm.trainer.stopping import Interrupted
from tfm.trainer.train import Trainer, train
from tfm.trainer.training_state import TrainingState

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def recipe_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe beside its corpora: letters to translate into their capitals."""
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    path = folder / "recipe.toml"
    path.write_text(RECIPE, "utf-8")
    return path


@pytest.fixture(scope="module")
def unbroken(recipe_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a training that nothing stopped."""
    folder = tmp_path_factory.mktemp("unbroken") / "checkpoint"
    torch.set_num_threads(1)
    train(load_recipe(recipe_path), folder, resume=False)
    return folder


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


def test_checkpoint_is_complete(unbroken: Path, recipe_path: Path) -> None:
    assert {path.name for path in unbroken.iterdir()} == {
        "config.json",
        "source.spm",
        "target.spm",
        "recipe.toml",
        "model.safetensors",
        "best.safetensors",
        "average.safetensors",
        "last.safetensors",
        "curves.png",
        "samples.txt",
        "recent",
        "tokens",
        "validation.tsv",
        "metrics.jsonl",
        "lock",
    }
    assert (unbroken / files.RECIPE).read_text("utf-8") == RECIPE
    assert len((unbroken / files.VALIDATION).read_text("utf-8").splitlines()) == 3
    lines = metrics(unbroken)
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 15))
    validations = [line for line in lines if "validation_loss" in line]
    assert [line["step"] for line in validations] == [5, 10, 14]
    assert validations[0]["bleu_signature"].startswith("nrefs:1|case:mixed")
    assert lines[-1]["validation_loss"] < 0.9 * validations[0]["validation_loss"]
    assert max(line.get("epoch", 0) for line in lines) >= 2  # or resuming had nothing to count


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


def test_process_stopped_by_sigterm_and_resumed_is_unbroken(
    recipe_path: Path, tmp_path: Path
) -> None:
    endless = copy_recipe(recipe_path, tmp_path, "max_steps = 14", "max_steps = 1000000")
    text = endless.read_text("utf-8").replace('precision = "fp32"', 'precision = "bf16"')
    endless.write_text(text, "utf-8")
    stopped = tmp_path / "stopped"
    command = [sys.executable, "-c", "from tfm.trainer.cli import train; train()", str(endless)]
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


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_command_says_how_to_continue(
    number: signal.Signals,
    status: int,
    recipe_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        call_at(patch, 2, lambda: signal.raise_signal(number))
        arguments = [str(recipe_path), "--out", str(tmp_path), "--threads", "1"]
        result = CliRunner().invoke(cli.train, arguments)
    assert result.exit_code == status
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last == (
        f"stopped at step 2; continue with: tfm train {recipe_path} --out {tmp_path} --resume"
        " --threads 1"
    )
    assert (tmp_path / files.LAST).exists()


def test_nohup_is_left_alone_and_hangup_is_not(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(signal, "SIGHUP"):
        pytest.skip("no SIGHUP here")
    recipe = change(load_recipe(recipe_path), max_steps=3)
    call_at(monkeypatch, 2, lambda: signal.raise_signal(signal.SIGHUP))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert train(recipe, tmp_path / "nohup", resume=False).step == 3
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with pytest.raises(Interrupted) as stop:
            train(recipe, tmp_path / "terminal", resume=False)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (stop.value.step, stop.value.signal_number) == (2, signal.SIGHUP)


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
        result = CliRunner().invoke(cli.train, arguments)
        monkeypatch.undo()
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: the batch of step 7 does not fit into the memory of cpu: lower")
    assert last.endswith(f"the state in {tmp_path / files.LAST} is whole")
    assert files.CheckpointFolder(tmp_path).read_state().step == 6
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


def test_a_second_ctrl_c_gets_through(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    call_at(monkeypatch, 2, twice)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(load_recipe(recipe_path), tmp_path, resume=False)
    assert signal.getsignal(signal.SIGINT) == before


def test_finished_training_resumed_changes_nothing(
    recipe_path: Path, unbroken: Path, tmp_path: Path
) -> None:
    contents = {path: path.read_bytes() for path in unbroken.iterdir() if path.is_file()}
    state = train(load_recipe(recipe_path), unbroken, resume=True)
    assert state.step == 14
    assert {path: path.read_bytes() for path in contents} == contents


def test_existing_training_is_not_overwritten(recipe_path: Path, unbroken: Path) -> None:
    result = CliRunner().invoke(cli.train, [str(recipe_path), "--out", str(unbroken)])
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert f"{unbroken} already holds a training; continue it with --resume" in result.stderr


def test_a_folder_has_one_training_at_a_time(
    recipe_path: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []

    def train_there_too() -> None:
        command = [str(recipe_path), "--out", str(tmp_path), "--resume"]
        result = CliRunner().invoke(cli.train, command)
        said.append((result.exit_code, result.stderr))

    with monkeypatch.context() as patch:
        call_at(patch, 8, train_there_too)
        train(load_recipe(recipe_path), tmp_path, resume=False)
    expected = f"Error: another training is writing {tmp_path}: stop it first, or choose another"
    assert said == [(1, f"{expected} folder\n")]
    assert_same_training(tmp_path, unbroken)


def test_resume_of_nothing_is_a_start(recipe_path: Path, unbroken: Path, tmp_path: Path) -> None:
    train(load_recipe(recipe_path), tmp_path / "new", resume=True)
    assert_same_training(tmp_path / "new", unbroken)


def test_another_seed_is_another_training(
    recipe_path: Path, unbroken: Path, tmp_path: Path
) -> None:
    recipe = change(load_recipe(recipe_path), seed=2, max_steps=1)
    train(recipe, tmp_path, resume=False)
    assert metrics(tmp_path)[0]["loss"] != metrics(unbroken)[0]["loss"]


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


def test_loss_that_is_no_number_stops(recipe_path: Path, tmp_path: Path) -> None:
    path = copy_recipe(recipe_path, tmp_path, "learning_rate = 1e-2", "learning_rate = 1e30")
    result = CliRunner().invoke(cli.train, [str(path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    message = result.stderr.splitlines()[-1]
    assert message.startswith("Error: the loss is ")
    assert "at step 2: lower learning_rate or raise warmup_steps" in message
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out" / files.LAST).exists()


@pytest.mark.parametrize(
    ("broken", "match"),
    [
        (5, "the validation loss is .* at step 5: .*no state was saved yet"),
        (7, "the loss is .* at step 8"),
        (10, "the validation loss is .* at step 10"),
    ],
)
def test_a_loss_that_is_no_number_leaves_the_last_state(
    broken: int,
    match: str,
    recipe_path: Path,
    unbroken: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = load_recipe(recipe_path)
    rate = loop.learning_rate
    with monkeypatch.context() as patch:
        patch.setattr(
            loop,
            "learning_rate",
            lambda step, *rest: 1e30 if step == broken else rate(step, *rest),
        )
        with pytest.raises(TrainError, match=match):
            train(recipe, tmp_path, resume=False)
    train(recipe, tmp_path, resume=True)
    assert_same_training(tmp_path, unbroken)


def test_accumulated_batches_give_the_gradient_of_their_mean_loss_per_token(
    recipe_path: Path, unbroken: Path, tmp_path: Path
) -> None:
    recipe = change(load_recipe(recipe_path), clip_norm=0.0)
    recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, dropout=0.0))
    trainer = make_trainer(recipe, tmp_path, unbroken)
    whole = trainer.text.batch(np.arange(6))
    logits = trainer.model(whole.source_ids, whole.target_ids[:, :-1])
    labels = whole.target_ids[:, 1:]
    mean = F.cross_entropy(
        logits.transpose(1, 2), labels, ignore_index=trainer.text.pad_id, label_smoothing=0.1
    )
    mean.backward()
    expected = {name: p.grad for name, p in trainer.model.named_parameters()}

    for group in ([[0, 1, 2], [3], [4, 5]], [[5, 3, 4, 1, 2, 0]]):
        trainer = make_trainer(recipe, tmp_path, unbroken)
        loss, tokens, _ = trainer._step([np.array(batch) for batch in group], 0.01)
        assert tokens == int((labels != trainer.text.pad_id).sum())
        assert loss / tokens == pytest.approx(mean.item(), rel=1e-5)
        # Adam's first moments are a tenth of the gradients; the update is only their sign
        for name, parameter in trainer.model.named_parameters():
            moment = trainer.optimizer.state[parameter]["exp_avg"]
            torch.testing.assert_close(10 * moment, expected[name], rtol=1e-4, atol=1e-6)


def test_groups_cover_every_batch_of_every_epoch(
    recipe_path: Path, unbroken: Path, tmp_path: Path
) -> None:
    trainer = make_trainer(load_recipe(recipe_path), tmp_path, unbroken)
    seen: dict[int, list[list[int]]] = {0: [], 1: []}
    for epoch, used, group in trainer._batch_groups():
        if epoch > 1:
            break
        seen[epoch] += [batch.tolist() for batch in group]
        assert len(seen[epoch]) == used
    for epoch, batches in seen.items():
        assert batches == [b.tolist() for b in trainer.text.epoch(1, epoch, 128)]


def test_gradients_are_clipped(recipe_path: Path, unbroken: Path, tmp_path: Path) -> None:
    norms = []
    for clip_norm in (0.0, 1e-3):
        recipe = change(load_recipe(recipe_path), clip_norm=clip_norm)
        trainer = make_trainer(recipe, tmp_path, unbroken)
        trainer._step([np.arange(6)], 0.01)
        moments = [s["exp_avg"] for s in trainer.optimizer.state_dict()["state"].values()]
        norms.append(10 * torch.cat([m.flatten() for m in moments]).norm().item())
    assert norms[0] > 0.1
    assert norms[1] == pytest.approx(1e-3, rel=1e-3)


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


def test_training_stops_after_validations_without_gain(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([5.0, 9.0, 4.0, 9.0, 4.1, 9.0, 4.0, 9.0])
    monkeypatch.setattr(validation, "validation_loss", lambda *_: next(losses))
    recipe = change(load_recipe(recipe_path), validate_steps=2, stop_after_no_gain=2)
    state = train(recipe, tmp_path, resume=False)
    assert (state.step, state.best_step, state.best_loss) == (8, 4, 4.0)


def test_max_steps_lowered_ends_with_a_validation(
    recipe_path: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(recipe_path)
    call_at(monkeypatch, 8, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Interrupted):
        train(recipe, tmp_path, resume=False)
    state = train(change(recipe, max_steps=6), tmp_path, resume=True)
    assert (state.step, state.validated_step) == (8, 8)


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


def test_no_cuda_no_training(recipe_path: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    recipe = change(load_recipe(recipe_path), device="cuda")
    with pytest.raises(TrainError, match="finds no CUDA device; use 'auto' or 'cpu'"):
        train(recipe, tmp_path, resume=False)


def test_weights_that_draw_nothing_stop(recipe_path: Path, unbroken: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_path)
    corpus = dataclasses.replace(recipe.data.train[0], until_epoch=1)
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, train=(corpus,)))
    trainer = make_trainer(change(recipe, max_steps=100), tmp_path, unbroken)
    with pytest.raises(TrainError, match="no pair in 1000 epochs from epoch 1 on: raise the wei"):
        trainer.run()
    assert files.CheckpointFolder(tmp_path).read_state().step == metrics(tmp_path)[-1]["step"] > 0


def test_sample_is_spread_over_the_text(recipe_path: Path) -> None:
    text = read_corpora(load_recipe(recipe_path).data.train)
    sources, targets = text.sample(7)
    positions = [text.sources.index(s) for s in sources]
    assert len(sources) == 7 and targets == [s.upper() for s in sources]
    assert positions[0] == 0 and sources[-1] == text.sources[-1]
    assert text.sample(999) == (text.sources, text.targets)


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
        result = CliRunner().invoke(cli.train, arguments)
    assert result.exit_code == 143
    assert result.stderr.splitlines()[-1].endswith(f"--out {stopped} --resume --threads 1")
    train(wider, stopped, resume=True)  # the checkpoint it began from may be gone
    assert_same_training(stopped, whole)


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


def test_recipe_that_continued_is_kept(recipe_path: Path, unbroken: Path, tmp_path: Path) -> None:
    path = copy_recipe(recipe_path, tmp_path, "max_steps = 14", "max_steps = 15")
    folder = shutil.copytree(unbroken, tmp_path / "continued")
    train(load_recipe(path), folder, resume=True)
    assert (folder / files.RECIPE).read_text("utf-8") == path.read_text("utf-8")


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


def test_samples_are_what_validation_translated(unbroken: Path) -> None:
    text = (unbroken / files.SAMPLES).read_text("utf-8")
    assert text.startswith("step 14, greedy\n")
    pairs = (unbroken / files.VALIDATION).read_text("utf-8").splitlines()
    for pair in pairs:
        source, reference = pair.split("\t")
        assert f"source     {source}\nreference  {reference}\noutput     " in text
    assert text.count("output") == len(pairs) == 3


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
        monkeypatch.setattr(loop, "faster_precision", lambda *_, name=name: name)
        recipe = change(load_recipe(recipe_path), precision="auto", max_steps=1)
        train(recipe, tmp_path / name, resume=False)
        monkeypatch.setattr(loop, "faster_precision", lambda *_: "another")
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
