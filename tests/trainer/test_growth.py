"""A trained model made larger: `tfm train --init FOLDER --grow`."""

import dataclasses
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from helpers.training import change

from tfm.trainer.checkpoint import CheckpointFolder, load_checkpoint
from tfm.trainer.commands.train import train as train_command
from tfm.trainer.config import TransformerConfig, load_recipe
from tfm.trainer.errors import TrainError
from tfm.trainer.growth import grow
from tfm.trainer.model import Transformer
from tfm.trainer.train import train

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = TransformerConfig(
    source_vocab_size=23,
    target_vocab_size=19,
    d_model=16,
    d_ff=24,
    num_heads=4,
    encoder_layers=3,
    decoder_layers=2,
    norm="pre",
    dropout=0.0,
)


def seeded(config: TransformerConfig) -> Transformer:
    """A model whose biases and norms are random, too."""
    torch.manual_seed(3)
    model = Transformer(config).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=0.5)
    return model


def logits(model: Transformer) -> torch.Tensor:
    torch.manual_seed(4)
    source, target = torch.randint(4, 23, (3, 7)), torch.randint(4, 19, (3, 5))
    with torch.no_grad():
        return model(source, target)


@pytest.mark.parametrize(
    "larger",
    [
        {"encoder_layers": 4},
        {"encoder_layers": 7},
        {"decoder_layers": 3},
        {"d_ff": 40},
        {"encoder_layers": 5, "decoder_layers": 4, "d_ff": 25},
        {},
    ],
)
def test_a_grown_model_says_what_it_said(larger: dict[str, int]) -> None:
    model = seeded(SMALL)
    grown = grow(model, dataclasses.replace(SMALL, **larger)).eval()
    assert (len(grown.encoder), len(grown.decoder)) == (
        larger.get("encoder_layers", 3),
        larger.get("decoder_layers", 2),
    )
    assert grown.encoder_layers[0].feed_forward.inner.out_features == larger.get("d_ff", 24)
    torch.testing.assert_close(logits(grown), logits(model))


def test_a_recurrent_decoder_may_get_more_units_and_encoder_layers() -> None:
    config = dataclasses.replace(SMALL, decoder_autoregression="ssru")
    model = seeded(config)
    grown = grow(model, dataclasses.replace(config, encoder_layers=4, d_ff=30)).eval()
    torch.testing.assert_close(logits(grown), logits(model))
    with pytest.raises(TrainError, match="cannot add layers to a recurrent decoder"):
        grow(model, dataclasses.replace(config, decoder_layers=3))


def test_all_that_is_new_learns() -> None:
    grown = grow(seeded(SMALL), dataclasses.replace(SMALL, encoder_layers=6, d_ff=32)).train()
    before = {name: weight.detach().clone() for name, weight in grown.named_parameters()}
    optimizer = torch.optim.Adam(grown.parameters(), lr=0.01)
    for _ in range(3):  # at first only what is zero has a gradient
        source, target = torch.randint(4, 23, (3, 7)), torch.randint(4, 19, (3, 5))
        loss = grown(source, target).log_softmax(2)[:, :, 5].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    new = [name for name in before if name.startswith(("encoder.1.", "encoder.3.", "encoder.5."))]
    assert new
    assert all(not torch.equal(before[name], grown.get_parameter(name)) for name in new)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_ff": 20}, "d_ff 24 and the recipe wants 20"),
        ({"encoder_layers": 2}, "encoder_layers 3 and the recipe wants 2"),
        ({"num_heads": 2}, "num_heads 4 and the recipe wants 2"),
        ({"d_model": 32}, "d_model 16 and the recipe wants 32"),
    ],
)
def test_what_cannot_grow_is_named(change: dict[str, int], message: str) -> None:
    with pytest.raises(TrainError, match=message):
        grow(seeded(SMALL), dataclasses.replace(SMALL, **change))


def test_a_post_norm_model_cannot_grow() -> None:
    config = dataclasses.replace(SMALL, norm="post")
    with pytest.raises(TrainError, match="pre-norm"):
        grow(seeded(config), dataclasses.replace(config, encoder_layers=4))


def test_training_begins_with_the_grown_model(recipe_path: Path, tmp_path: Path) -> None:
    recipe = change(load_recipe(recipe_path), max_steps=1, learning_rate=1e-30)
    pre_norm = dataclasses.replace(recipe.model, norm="pre")
    first, out = tmp_path / "first", tmp_path / "out"
    train(dataclasses.replace(recipe, model=pre_norm), first, resume=False)
    (model, vocabulary) = load_checkpoint(first)
    deeper = dataclasses.replace(pre_norm, encoder_layers=model.config.encoder_layers + 1)
    recipe = dataclasses.replace(recipe, model=deeper)
    train(recipe, out, resume=False, init=first, larger=True)
    grown, same = CheckpointFolder(out).load()
    assert grown.config == dataclasses.replace(model.config, encoder_layers=deeper.encoder_layers)
    assert same.digest == vocabulary.digest
    torch.testing.assert_close(logits(grown), logits(model))
    train(change(recipe, max_steps=2), out, resume=True)  # as the recipe says, without --grow


def test_growing_without_a_model_is_a_usage_error(recipe_path: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        train_command, [str(recipe_path), "--out", str(tmp_path / "out"), "--grow"]
    )
    assert result.exit_code == 2
    assert "--grow needs --init" in result.stderr
