"""Each ablation against torch or by hand, and what it leaves as it is."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from tfm.export.errors import ExportError
from tfm.export.formats.read_model_folder import load_model
from tfm.export.model_folder import export_checkpoint
from tfm.runtime.commands.cli import cli
from tfm.trainer import checkpoint as files
from tfm.trainer.config import TransformerConfig, load_model_config
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.errors import TrainError
from tfm.trainer.model import MultiHeadAttention, Transformer
from tfm.trainer.studies.ablations import (
    MAX_POSITIONS,
    BatchNorm,
    LearnedPositions,
    build_transformer,
)

PAD, BOS, EOS = 0, 2, 3
CONFIG = TransformerConfig(
    source_vocab_size=11,
    target_vocab_size=13,
    d_model=16,
    d_ff=24,
    num_heads=2,
    encoder_layers=2,
    decoder_layers=2,
    dropout=0.0,
)
NAMES = ("batch_norm", "no_scaling", "no_residual", "learned_positions", "no_positions")
SOURCE_IDS = torch.tensor([[4, 5, 6, 7, EOS], [8, 9, EOS, PAD, PAD], [10, EOS, PAD, PAD, PAD]])
TARGET_IDS = torch.tensor([[BOS, 4, 5, 6], [BOS, 7, 8, 9], [BOS, 10, 11, 12]])


def build(*ablations: Any, seed: int = 0, **changes: Any) -> Transformer:
    """In double precision, every parameter random: biases and norms hide mistakes at 0 and 1."""
    torch.manual_seed(seed)
    model = build_transformer(dataclasses.replace(CONFIG, ablations=ablations, **changes)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model.eval()


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("name", NAMES)
def test_everything_else_begins_as_in_the_paper(name: Any, norm: Any) -> None:
    models = []
    for ablations in ((), (name,)):
        torch.manual_seed(3)
        config = dataclasses.replace(CONFIG, norm=norm, ablations=ablations)
        models.append(build_transformer(config).eval())
    paper, ablated = models
    before, after = paper.state_dict(), ablated.state_dict()
    assert before.keys() <= after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    added = {key.rsplit(".", 1)[1] for key in after.keys() - before.keys()}
    wanted = {"batch_norm": {"running_mean", "running_var"}, "learned_positions": {"table"}}
    assert added == wanted.get(name, set())
    assert not torch.allclose(paper(SOURCE_IDS, TARGET_IDS), ablated(SOURCE_IDS, TARGET_IDS))


def test_without_scaling_is_with_queries_times_the_root_of_their_size() -> None:
    paper, ablated = build(), build("no_scaling")
    root = (CONFIG.d_model / CONFIG.num_heads) ** 0.5
    with torch.no_grad():
        for module in paper.modules():
            if isinstance(module, MultiHeadAttention):
                module.q_proj.weight *= root
                module.q_proj.bias *= root
    expected = paper(SOURCE_IDS, TARGET_IDS)
    torch.testing.assert_close(ablated(SOURCE_IDS, TARGET_IDS), expected)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_is_that_of_torch(training: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    ours = BatchNorm(6).train(training)
    theirs = nn.BatchNorm1d(6).train(training)
    state = {key: torch.rand(6, generator=generator) + 0.5 for key in ours.state_dict()}
    ours.load_state_dict(state)
    theirs.load_state_dict(state, strict=False)
    for _ in range(3):  # the running statistics go on
        x = torch.randn(4, 5, 6, generator=generator) * 2 + 1
        mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
        found, expected = ours(mine), theirs(other.transpose(1, 2)).transpose(1, 2)
        torch.testing.assert_close(found, expected)
        for y in (found, expected):
            y.square().sum().backward()
        assert mine.grad is not None and other.grad is not None
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours.running_mean, theirs.running_mean)
        torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    assert torch.equal(ours.running_mean, state["running_mean"]) == (not training)


@pytest.mark.parametrize(("norm", "count"), [("post", 10), ("pre", 12)])
def test_batch_norm_takes_every_place(norm: Any, count: int) -> None:
    """2 layers of 2 sub-layers, 2 of 3, and pre-norm's two at the end."""
    modules = list(build("batch_norm", norm=norm).modules())
    assert not any(isinstance(module, nn.LayerNorm) for module in modules)
    assert sum(isinstance(module, BatchNorm) for module in modules) == count


def test_batch_norm_is_of_a_sentence_alone_in_evaluation_only() -> None:
    model = build("batch_norm")
    alone, together = model.encode(SOURCE_IDS[:1])[0], model.encode(SOURCE_IDS)[0][:1]
    torch.testing.assert_close(alone, together)
    model.train()
    alone, together = model.encode(SOURCE_IDS[:1])[0], model.encode(SOURCE_IDS)[0][:1]
    assert not torch.allclose(alone, together)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_without_residual_by_hand(norm: Any) -> None:
    model = build("no_residual", norm=norm)
    layer = model.encoder_layers[0]
    x = torch.randn(2, 3, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    bias = torch.zeros(1, 1, 1, 3)
    attend, feed = layer.self_attention, layer.feed_forward
    first, second = layer.self_attention_residual.norm, layer.feed_forward_residual.norm
    if norm == "post":
        expected = second(feed(first(attend(x, x, bias))))
    else:
        expected = feed(second(attend(first(x), first(x), bias)))
    torch.testing.assert_close(layer(x, bias), expected)


def test_without_residual_dropout_is_that_of_the_output() -> None:
    residual = build("no_residual", norm="pre").encoder_layers[0].feed_forward_residual
    residual.dropout.p = 0.5
    residual.train()
    after = residual.after(torch.zeros(1, 1, 1000), torch.ones(1, 1, 1000))
    assert set(after.unique().tolist()) == {0.0, 2.0}


def test_batch_norm_and_no_residual_together() -> None:
    model = build("batch_norm", "no_residual")
    other = build("no_residual", "batch_norm")
    torch.testing.assert_close(model(SOURCE_IDS, TARGET_IDS), other(SOURCE_IDS, TARGET_IDS))
    assert not any(isinstance(module, nn.LayerNorm) for module in model.modules())


def test_without_positions_order_is_nothing_to_the_encoder() -> None:
    order = torch.tensor([3, 0, 4, 1, 2])
    for model, same in ((build("no_positions"), True), (build(), False)):
        memory, _ = model.encode(SOURCE_IDS[:1])
        permuted, _ = model.encode(SOURCE_IDS[:1, order])
        assert torch.allclose(permuted, memory[:, order]) == same


def test_learned_positions_are_added_and_trained() -> None:
    model = build("learned_positions")
    embeddings = model.source_embeddings
    assert isinstance(embeddings.positions, LearnedPositions)
    table = embeddings.positions.table
    assert float(table.detach().std()) == pytest.approx(16**-0.5, rel=0.05)
    expected = embeddings.tokens.weight[SOURCE_IDS] * 4 + table[:5]
    torch.testing.assert_close(embeddings(SOURCE_IDS), expected)
    model(SOURCE_IDS, TARGET_IDS).square().sum().backward()
    assert table.grad is not None
    moved = table.grad.abs().sum(dim=1) > 0
    assert moved.tolist() == [True] * 5 + [False] * (MAX_POSITIONS - 5)
    other = model.target_embeddings.positions
    assert isinstance(other, LearnedPositions) and not torch.equal(other.table, table)


def test_learned_positions_end_somewhere() -> None:
    model = build("learned_positions", encoder_layers=1)
    ids = torch.full((1, MAX_POSITIONS + 1), 5)
    assert model.encode(ids[:, 1:])[0].shape == (1, MAX_POSITIONS, 16)
    with pytest.raises(TrainError, match="ends at 512 tokens: leave out a sentence of 513"):
        model.encode(ids)


@pytest.mark.parametrize(
    ("ablations", "message"),
    [
        (("batchnorm",), "ablation 'batchnorm': choose, each at most once, from batch_norm, no_sc"),
        (("no_scaling", "no_scaling"), "ablation 'no_scaling': choose, each at most once"),
        (("learned_positions", "no_positions"), "choose one of them"),
    ],
)
def test_ablations_that_make_no_sense(ablations: Any, message: str) -> None:
    with pytest.raises(TrainError, match=message):
        dataclasses.replace(CONFIG, ablations=ablations)


def save(model: Transformer, vocabulary: Vocabulary, folder: Path) -> Path:
    files.write_checkpoint(folder, model, vocabulary)
    return folder


def sized(vocabulary: Vocabulary) -> dict[str, int]:
    return {
        "source_vocab_size": vocabulary.source.vocab_size(),
        "target_vocab_size": vocabulary.target.vocab_size(),
    }


@pytest.mark.parametrize("name", NAMES)
def test_checkpoint_gives_the_ablated_model(
    name: Any, tiny_vocabulary: Vocabulary, tmp_path: Path
) -> None:
    model = build(name, **sized(tiny_vocabulary)).float()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if "running" in key:
                value.copy_(torch.rand_like(value) + 0.5)
    loaded, _ = files.load_checkpoint(save(model, tiny_vocabulary, tmp_path / "checkpoint"))
    assert loaded.config.ablations == (name,)
    assert torch.equal(loaded(SOURCE_IDS, TARGET_IDS), model(SOURCE_IDS, TARGET_IDS))


def test_running_statistics_have_a_mean() -> None:
    many = [files.weights_of(build("batch_norm", seed=seed)) for seed in (1, 2)]
    key = "encoder.0.feed_forward_residual.norm.running_var"
    many = [{name: t.clone() for name, t in weights.items()} for weights in many]
    many[0][key] += 3
    mean = files.average(many)
    torch.testing.assert_close(mean[key], (many[0][key] + many[1][key]) / 2)
    assert all(tensor.is_floating_point() for tensor in mean.values())
    files.load_weights(build("batch_norm"), mean)


def test_config_of_an_older_checkpoint(tmp_path: Path) -> None:
    files.write_config(tmp_path, CONFIG)
    tree = json.loads((tmp_path / files.CONFIG).read_text("utf-8"))
    del tree["ablations"]
    (tmp_path / files.CONFIG).write_text(json.dumps(tree), "utf-8")
    assert load_model_config(tmp_path / files.CONFIG) == CONFIG


def test_experiments_are_not_exported(tiny_vocabulary: Vocabulary, tmp_path: Path) -> None:
    model = build("batch_norm", "no_scaling", **sized(tiny_vocabulary))
    checkpoint = save(model, tiny_vocabulary, tmp_path / "checkpoint")
    message = "checkpoint was trained with ablations batch_norm, no_scaling: experiments cannot be"
    with pytest.raises(ExportError, match=message):
        export_checkpoint(checkpoint, tmp_path / "out", ["fp32"], ["一"], None)
    with pytest.raises(ExportError, match=message):
        load_model(checkpoint)
    for command in (["export"], ["convert", "--to", "transformers"]):
        (checkpoint / files.VALIDATION).write_text("一\tone\n", "utf-8")
        result = CliRunner().invoke(cli, [*command, str(checkpoint), str(tmp_path / "out")])
        assert result.exit_code == 1
        assert result.stderr == f"Error: {checkpoint} was trained with ablations batch_norm, " + (
            "no_scaling: experiments cannot be exported\n"
        )
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint"}


def gradients(model: Transformer) -> list[Tensor | None]:
    return [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("name", NAMES)
def test_everything_is_trained(name: Any) -> None:
    model = build(name).train()
    model(SOURCE_IDS, TARGET_IDS).square().sum().backward()
    assert all(grad is not None and bool(grad.any()) for grad in gradients(model))
