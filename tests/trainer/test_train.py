"""The training loop: its steps, the checkpoint it leaves, and when it refuses to go on."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from helpers.capitals import RECIPE
from helpers.training import (
    assert_same_training,
    change,
    copy_recipe,
    make_trainer,
    metrics,
)

from tfm.trainer import checkpoint as files
from tfm.trainer import train as loop
from tfm.trainer.commands.train import train as train_command
from tfm.trainer.config import load_recipe
from tfm.trainer.errors import TrainError
from tfm.trainer.train import train

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_another_seed_is_another_training(
    recipe_path: Path, unbroken: Path, tmp_path: Path
) -> None:
    recipe = change(load_recipe(recipe_path), seed=2, max_steps=1)
    train(recipe, tmp_path, resume=False)
    assert metrics(tmp_path)[0]["loss"] != metrics(unbroken)[0]["loss"]


def test_loss_that_is_no_number_stops(recipe_path: Path, tmp_path: Path) -> None:
    path = copy_recipe(recipe_path, tmp_path, "learning_rate = 1e-2", "learning_rate = 1e30")
    result = CliRunner().invoke(train_command, [str(path), "--out", str(tmp_path / "out")])
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


def test_weights_that_draw_nothing_stop(recipe_path: Path, unbroken: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_path)
    corpus = dataclasses.replace(recipe.data.train[0], until_epoch=1)
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, train=(corpus,)))
    trainer = make_trainer(change(recipe, max_steps=100), tmp_path, unbroken)
    with pytest.raises(TrainError, match="no pair in 1000 epochs from epoch 1 on: raise the wei"):
        trainer.run()
    assert files.CheckpointFolder(tmp_path).read_state().step == metrics(tmp_path)[-1]["step"] > 0
