"""The checkpoint folder: nothing is lost in it, and what does not belong together is refused."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from tfm.trainer import checkpoint as files
from tfm.trainer.config import (
    TrainingRecipe,
    TransformerConfig,
    VocabularyRecipe,
    load_model_config,
)
from tfm.trainer.data.vocabulary import train_vocabulary
from tfm.trainer.errors import TrainError
from tfm.trainer.model import Transformer
from tfm.trainer.optimizer import build_optimizer
from tfm.trainer.training_state import TrainingState

VOCABULARY = train_vocabulary(["一 二 三 四"] * 9, ["one two"] * 9, VocabularyRecipe(size=280))
CONFIG = TransformerConfig(
    source_vocab_size=VOCABULARY.source.vocab_size(),
    target_vocab_size=VOCABULARY.target.vocab_size(),
    d_model=16,
    d_ff=8,
    num_heads=2,
    encoder_layers=1,
    decoder_layers=1,
    dropout=0.2,
)
RECIPE = TrainingRecipe(weight_decay=0.01)


def build(
    config: TransformerConfig = CONFIG, seed: int = 0, recipe: TrainingRecipe = RECIPE
) -> tuple[Transformer, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = Transformer(config).train()
    return model, build_optimizer(model, recipe)


def step(model: Transformer, optimizer: torch.optim.Optimizer) -> Tensor:
    """One update that depends on the weights, the moments and the random state."""
    ids = torch.randint(4, 200, (3, 5))
    loss = model(ids, ids).square().mean()
    optimizer.zero_grad()
    loss.backward()
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    optimizer.step()
    return loss.detach()


def write_checkpoint(folder: Path, config: TransformerConfig = CONFIG) -> Transformer:
    model, _ = build(config)
    VOCABULARY.save(folder)
    files.write_config(folder, config)
    files.write_weights(folder / files.MODEL, files.weights_of(model))
    return model


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("tied", ["none", "target"])
@pytest.mark.parametrize("kind", ["adam", "muon"])
def test_state_survives_bit_for_bit(tmp_path: Path, tied: str, kind: str) -> None:
    config = dataclasses.replace(CONFIG, tied_embeddings=tied)
    recipe = dataclasses.replace(RECIPE, optimizer=kind)
    model, optimizer = build(config, recipe=recipe)
    for _ in range(3):
        step(model, optimizer)
    state = TrainingState(step=3, epoch=1, batch=2, best_loss=0.1 + 0.2, seconds=1 / 3)
    files.CheckpointFolder(tmp_path).save_state(model, optimizer, state)
    torch.manual_seed(5)  # the trainer seeds each step itself: see seed_dropout
    expected = [step(model, optimizer) for _ in range(3)]

    other, other_optimizer = build(config, seed=9, recipe=recipe)
    assert files.CheckpointFolder(tmp_path).restore_state(other, other_optimizer) == state
    torch.manual_seed(5)
    found = [step(other, other_optimizer) for _ in range(3)]
    assert torch.equal(torch.stack(found), torch.stack(expected))
    for ours, theirs in zip(other.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        for key, value in optimizer.state[theirs].items():
            assert torch.equal(other_optimizer.state[ours][key], value)
    groups = [[g["weight_decay"] for g in o.param_groups] for o in (optimizer, other_optimizer)]
    assert groups[0] == groups[1] == ([0.01, 0.0] if kind == "adam" else [0.01, 0.0, 0.01])


def test_state_before_the_first_validation_has_infinite_losses(tmp_path: Path) -> None:
    model, optimizer = build()
    files.CheckpointFolder(tmp_path).save_state(model, optimizer, TrainingState())
    assert files.CheckpointFolder(tmp_path).restore_state(*build(seed=1)) == TrainingState()


def test_state_of_another_model_is_refused(tmp_path: Path) -> None:
    files.CheckpointFolder(tmp_path).save_state(*build(), TrainingState())
    with pytest.raises(TrainError, match="weights do not fit"):
        files.CheckpointFolder(tmp_path).restore_state(*build(dataclasses.replace(CONFIG, d_ff=10)))


def test_missing_and_damaged_state(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"last\.safetensors: not found"):
        files.CheckpointFolder(tmp_path).restore_state(*build())
    files.CheckpointFolder(tmp_path).save_state(*build(), TrainingState())
    truncate(tmp_path / files.LAST)
    with pytest.raises(TrainError, match=r"last\.safetensors: damaged"):
        files.CheckpointFolder(tmp_path).restore_state(*build())


def test_model_and_vocabulary_are_loaded_for_use(tmp_path: Path) -> None:
    written = write_checkpoint(tmp_path)
    model, vocabulary = files.load_checkpoint(tmp_path)
    assert not model.training
    assert model.config == CONFIG
    assert model.projection.weight is model.target_embeddings.tokens.weight
    for ours, theirs in zip(model.parameters(), written.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert vocabulary.target.decode(vocabulary.target.encode("one two")) == "one two"


@pytest.mark.parametrize("name", [files.CONFIG, files.MODEL, "source.spm"])
def test_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(TrainError, match=f"{name}: not found"):
        files.load_checkpoint(tmp_path)


def test_checkpoint_before_the_first_validation_says_so(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / files.MODEL).rename(tmp_path / files.LAST)
    with pytest.raises(TrainError, match="not reached its first validation"):
        files.load_checkpoint(tmp_path)


@pytest.mark.parametrize("name", [files.CONFIG, files.MODEL, "source.spm"])
@pytest.mark.parametrize("damage", [truncate, lambda path: path.write_bytes(b"\xff" * 40)])
def test_damaged_file_is_named_in_one_line(tmp_path: Path, name: str, damage: object) -> None:
    write_checkpoint(tmp_path)
    damage(tmp_path / name)
    with pytest.raises(TrainError, match=name) as caught:
        files.load_checkpoint(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_empty_weights_are_damaged(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(TrainError, match="damaged"):
        files.read_weights(tmp_path / "a")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_ff": 10}, "weights do not fit config.json: .*feed_forward.* differs"),
        ({"encoder_layers": 2}, r"weights do not fit config.json: encoder\.1\..* differs"),
        ({"tied_embeddings": "none"}, "weights do not fit config.json: projection.weight differs"),
        ({"target_vocab_size": 99}, "vocabularies of .* do not belong to a model of"),
    ],
)
def test_files_of_different_trainings_are_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    write_checkpoint(tmp_path)
    files.write_config(tmp_path, dataclasses.replace(CONFIG, **change))
    with pytest.raises(TrainError, match=message):
        files.load_checkpoint(tmp_path)


def test_config_is_read_back(tmp_path: Path) -> None:
    files.write_config(tmp_path, CONFIG)
    assert load_model_config(tmp_path / files.CONFIG) == CONFIG


def test_weights_are_not_a_state(tmp_path: Path) -> None:
    model, optimizer = build()
    files.write_weights(tmp_path / files.LAST, files.weights_of(model))
    with pytest.raises(TrainError, match=r"last\.safetensors"):
        files.CheckpointFolder(tmp_path).restore_state(model, optimizer)


@pytest.mark.parametrize("failing", ["save_file", "os.replace"])
def test_a_failing_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "a.safetensors"
    files.write_weights(path, {"a": torch.ones(3)})

    def disk_full(_content: object, target: Path, *_: object) -> None:
        target.write_bytes(b"half of")
        raise OSError("no space left on device")

    def crash(*_: object) -> None:
        raise OSError("crash")

    if failing == "save_file":
        monkeypatch.setattr(files, "save_file", disk_full)
    else:
        monkeypatch.setattr("os.replace", crash)
    with pytest.raises(OSError):
        files.write_weights(path, {"a": torch.zeros(3)})
    assert torch.equal(files.read_weights(path)["a"], torch.ones(3))


def test_pairs_are_tsv(tmp_path: Path) -> None:
    files.CheckpointFolder(tmp_path).write_validation(["一", "二"], ["one", "two"])
    assert (tmp_path / files.VALIDATION).read_text("utf-8") == "一\tone\n二\ttwo\n"


def test_average_is_the_mean() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(3, 2)).astype(np.float32) for _ in range(3)]
    many = [{"a": torch.from_numpy(a), "b": torch.tensor([float(i)])} for i, a in enumerate(arrays)]
    mean = files.average(many)
    np.testing.assert_allclose(mean["a"], np.mean(arrays, axis=0), rtol=1e-6, atol=1e-7)
    assert mean["b"].tolist() == [1.0]
    half = files.average([{"a": a.to(torch.bfloat16)} for a in (torch.ones(2), 3 * torch.ones(2))])
    assert half["a"].dtype == torch.bfloat16 and half["a"].tolist() == [2.0, 2.0]


def test_recent_weights_are_a_sliding_window(tmp_path: Path) -> None:
    def mean_after(step: int, count: int = 3) -> float:
        weights = {"a": torch.tensor([float(step)])}
        return files.CheckpointFolder(tmp_path).add_recent(weights, step, count)["a"].item()

    steps = [5, 10, 200, 3000]
    means = [mean_after(step) for step in steps]
    assert means == pytest.approx([5, 7.5, 215 / 3, 3210 / 3])
    assert len(list((tmp_path / files.RECENT).iterdir())) == 3
    assert mean_after(3001, count=1) == 3001
    assert len(list((tmp_path / files.RECENT).iterdir())) == 1


def test_weights_are_stored_once_and_metadata_kept(tmp_path: Path) -> None:
    model, _ = build(dataclasses.replace(CONFIG, norm="pre"))
    files.write_weights(tmp_path / "a", files.weights_of(model), {"key": "value"})
    with safe_open(tmp_path / "a", framework="pt") as file:
        assert file.metadata() == {"key": "value"}
        stored = sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118
    assert stored == sum(p.numel() for p in model.parameters())
