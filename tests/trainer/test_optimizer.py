"""Learning rate and optimizer against torch and the paper's formulas."""

import pytest
import torch
from torch import nn

from tfm.trainer.config import TrainingRecipe
from tfm.trainer.optimizer import build_optimizer, learning_rate


def test_learning_rate_is_section_5_3() -> None:
    recipe = TrainingRecipe(warmup_steps=40)
    for step in (1, 2, 39, 40, 41, 100, 12345):
        paper = 512**-0.5 * min(step**-0.5, step * 40**-1.5)
        assert learning_rate(step, 512, recipe) == pytest.approx(paper, rel=1e-12)


def test_learning_rate_peaks_after_warmup() -> None:
    recipe = TrainingRecipe(warmup_steps=40, learning_rate=0.003, max_steps=500)
    rates = [learning_rate(step, 512, recipe) for step in range(1, 501)]
    assert max(rates) == rates[39] == 0.003
    assert rates[:40] == sorted(rates[:40])
    assert rates[39:] == sorted(rates[39:], reverse=True)
    assert rates[159] == pytest.approx(0.0015)


def test_without_warmup_the_peak_comes_first_and_the_rest_is_the_same() -> None:
    warm = TrainingRecipe(warmup_steps=40, learning_rate=0.003)
    cold = TrainingRecipe(warmup_steps=40, learning_rate=0.003, warmup="none")
    rates = [
        [learning_rate(step, 512, recipe) for step in range(1, 201)] for recipe in (warm, cold)
    ]
    assert rates[1][:40] == [0.003] * 40
    assert rates[1][39:] == rates[0][39:]


def test_cooldown_is_a_straight_line_that_meets_zero_after_the_last_step() -> None:
    plain = TrainingRecipe(warmup_steps=10, learning_rate=0.1, max_steps=100)
    cooled = TrainingRecipe(warmup_steps=10, learning_rate=0.1, max_steps=100, cooldown_steps=20)
    factors = [learning_rate(s, 16, cooled) / learning_rate(s, 16, plain) for s in range(1, 102)]
    assert factors[:81] == [1.0] * 81
    assert factors[80:] == pytest.approx([(20 - i) / 20 for i in range(21)])
    assert learning_rate(101, 16, cooled) == learning_rate(500, 16, cooled) == 0.0


def test_weight_decay_spares_vectors_and_is_decoupled() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    nn.init.ones_(module[0].bias)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimizer = build_optimizer(module, TrainingRecipe(weight_decay=0.5))
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    optimizer.step()
    for name, parameter in module.named_parameters():
        factor = 0.95 if parameter.ndim > 1 else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * factor)


def test_optimizer_is_adam_with_the_betas_of_the_paper() -> None:
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.randn(3, 2))
    optimizer = build_optimizer(nn.ParameterList([parameter]), TrainingRecipe())
    assert len({id(p) for group in optimizer.param_groups for p in group["params"]}) == 1
    value, mean, square = parameter.detach().double(), torch.zeros(3, 2), torch.zeros(3, 2)
    for step in range(1, 4):
        grad = torch.randn(3, 2)
        parameter.grad = grad.clone()
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * step
        optimizer.step()
        mean, square = 0.9 * mean + 0.1 * grad, 0.98 * square + 0.02 * grad**2
        unbiased = mean / (1 - 0.9**step), square / (1 - 0.98**step)
        value -= 0.01 * step * unbiased[0] / (unbiased[1].sqrt() + 1e-9)
        torch.testing.assert_close(parameter.detach().double(), value, rtol=1e-5, atol=1e-6)
