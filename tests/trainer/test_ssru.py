"""The recurrent unit against a loop over numbers, and models and trainings that have it."""

import dataclasses
import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training import assert_same_training, call_at, change, copy_recipe
from torch import Tensor, nn

from tfm.trainer.checkpoint import load_checkpoint
from tfm.trainer.config import PRESETS, TransformerConfig, load_recipe
from tfm.trainer.model import Transformer
from tfm.trainer.ssru import SSRU, linear_recurrence
from tfm.trainer.stopping import Interrupted
from tfm.trainer.train import train

CONFIG = TransformerConfig(
    source_vocab_size=11,
    target_vocab_size=13,
    d_model=16,
    d_ff=24,
    num_heads=4,
    encoder_layers=1,
    decoder_layers=2,
    dropout=0.0,
    decoder_autoregression="ssru",
)
SOURCE_IDS, TARGET_IDS = torch.tensor([[4, 5, 6, 3]]), torch.tensor([[2, 4, 5, 6, 7, 8]])


def random_unit(d_model: int) -> SSRU:
    torch.manual_seed(3)
    unit = SSRU(d_model).double()
    for parameter in unit.parameters():
        nn.init.normal_(parameter, std=0.7)
    return unit


def by_numbers(unit: SSRU, sentence: list[list[float]]) -> tuple[list[list[float]], list[float]]:
    """The equations of Kim et al. for one sentence, a number at a time: outputs and last state."""
    weight, forget = unit.input_proj.weight.tolist(), unit.forget_proj.weight.tolist()
    bias = unit.forget_proj.bias.tolist()
    size = len(bias)
    state, outputs = [0.0] * size, []
    for x in sentence:
        new = []
        for i in range(size):
            gate = bias[i] + sum(forget[i][j] * x[j] for j in range(size))
            f = 1 / (1 + math.exp(-gate))
            new.append(f * state[i] + (1 - f) * sum(weight[i][j] * x[j] for j in range(size)))
        state = new
        outputs.append([max(0.0, c) for c in state])
    return outputs, state


@pytest.mark.parametrize("length", [1, 2, 9])
def test_unit_equals_a_loop_over_numbers(length: int) -> None:
    unit, x = random_unit(5), torch.randn(3, length, 5, dtype=torch.float64)
    outputs = unit(x)
    for sentence, output in zip(x.tolist(), outputs, strict=True):
        expected, _ = by_numbers(unit, sentence)
        torch.testing.assert_close(output, torch.tensor(expected, dtype=torch.float64))
    assert (outputs == 0).any() and (outputs > 0).any()


def test_steps_equal_the_whole() -> None:
    unit, x = random_unit(5), torch.randn(3, 7, 5, dtype=torch.float64)
    state, outputs = torch.zeros(3, 5, dtype=torch.float64), []
    for t in range(7):
        state = unit.step(x[:, t], state)
        outputs.append(state.relu())
    torch.testing.assert_close(torch.stack(outputs, 1), unit(x))
    last = [by_numbers(unit, sentence)[1] for sentence in x.tolist()]
    torch.testing.assert_close(state, torch.tensor(last, dtype=torch.float64))
    torch.testing.assert_close(state, unit.states(x)[:, -1])


@pytest.mark.parametrize("length", [1, 2, 6])
def test_gradients_are_those_of_differences(length: int) -> None:
    torch.manual_seed(0)
    shape = (2, length, 3)
    decay = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    added = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(linear_recurrence, (decay, added))
    before = added.detach().clone()
    linear_recurrence(decay, added)
    assert torch.equal(added, before)


def test_bfloat16_trains_with_states_in_float() -> None:
    torch.manual_seed(0)
    unit, x = SSRU(64), torch.randn(2, 200, 64)
    with torch.autocast("cpu", torch.bfloat16):
        states = unit.states(x)
        outputs = unit(x)
    assert states.dtype == torch.float32
    outputs.square().mean().backward()
    for parameter in unit.parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0
    # Rounded inputs, but not a sum of 200 rounded terms.
    torch.testing.assert_close(outputs.float(), unit(x), atol=0.03, rtol=0)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_decoder_looks_back_and_never_ahead(norm: Any) -> None:
    torch.manual_seed(0)
    model = Transformer(dataclasses.replace(CONFIG, norm=norm)).double().eval()
    changed = TARGET_IDS.clone()
    changed[:, 2] = 12
    before, after = model(SOURCE_IDS, TARGET_IDS), model(SOURCE_IDS, changed)
    torch.testing.assert_close(after[:, :2], before[:, :2])
    assert not torch.isclose(after[:, 2:], before[:, 2:]).all(dim=2).any()


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_layer_by_its_equations(norm: Any) -> None:
    """The unit is in the residual connection that self-attention had."""
    torch.manual_seed(0)
    model = Transformer(dataclasses.replace(CONFIG, norm=norm)).double().eval()
    layer, x = model.decoder_layers[0], torch.randn(1, 6, 16, dtype=torch.float64)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.4)
    for sub_layer in (layer.cross_attention.out_proj, layer.feed_forward.outer):
        nn.init.zeros_(sub_layer.weight)
        nn.init.zeros_(sub_layer.bias)
    nothing = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    found = layer(x, x[:, :1], nothing, nothing)

    def unit(rows: Tensor) -> Tensor:
        return torch.tensor(by_numbers(layer.ssru, rows[0].tolist())[0], dtype=torch.float64)[None]

    if norm == "pre":
        expected = x + unit(layer.ssru_residual.norm(x))
    else:
        expected = layer.ssru_residual.norm(x + unit(x))
        for residual in (layer.cross_attention_residual, layer.feed_forward_residual):
            expected = residual.norm(expected)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("preset", "fewer"), [("tiny", 4), ("edge", 2)])
def test_presets_have_two_matrices_where_attention_has_four(preset: str, fewer: int) -> None:
    counts = []
    for name in (preset, f"{preset}-ssru"):
        config = TransformerConfig(source_vocab_size=90, target_vocab_size=90, **PRESETS[name])
        with torch.device("meta"):
            model = Transformer(config)
        counts.append(sum(parameter.numel() for parameter in model.parameters()))
    d_model = PRESETS[preset]["d_model"]
    # ... and a bias where it has three.
    assert counts[0] - counts[1] == fewer * (2 * d_model**2 + 2 * d_model)


@pytest.mark.usefixtures("one_thread")
def test_training_stops_resumes_and_averages(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = "encoder_layers = 1\n"
    new = f'{old}decoder_autoregression = "ssru"\n'
    path = copy_recipe(recipe_path, tmp_path / "corpus", old, new)
    recipe = change(load_recipe(path), max_steps=6, validate_steps=2, precision="bf16")
    unbroken, stopped = tmp_path / "unbroken", tmp_path / "stopped"
    train(recipe, unbroken, resume=False)
    with monkeypatch.context() as patch:
        call_at(patch, 3, lambda: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Interrupted):
            train(recipe, stopped, resume=False)
    train(recipe, stopped, resume=True)
    assert_same_training(stopped, unbroken)
    model, _ = load_checkpoint(stopped)
    assert all(layer.is_recurrent for layer in model.decoder_layers)
