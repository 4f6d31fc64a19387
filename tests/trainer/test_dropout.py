"""Dropout: its statistics, its gradient and its seed."""

import pytest
import torch

from tfm.trainer.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.3])
def test_dropout_statistics(p: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(7, 14287)  # a number of elements that whole 8-byte words do not cover
    y = Dropout(p)(x)
    kept = y != 0
    scale = 256 / (256 - round(p * 256))
    assert torch.equal(y[kept], torch.full_like(y[kept], scale))
    assert abs(kept.float().mean() - 1 / scale) < 0.005
    assert abs(1 / scale - (1 - p)) <= 1 / 512
    assert abs(y.mean() - 1) < 0.005
    for distance in (1, 2, 8):  # elements that share a word are independent all the same
        pairs = torch.stack((kept.flatten()[distance:], kept.flatten()[:-distance])).float()
        assert abs(torch.corrcoef(pairs)[0, 1]) < 0.015


def test_dropout_is_off_outside_training_and_seeded_within() -> None:
    x = torch.randn(5, 33)
    dropout = Dropout(0.5)
    torch.manual_seed(1)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(1)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(first, second)
    assert dropout.eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_dropout_gradient_is_its_mask() -> None:
    x = torch.ones(6, 50, dtype=torch.float64).T.requires_grad_()  # not contiguous
    y = Dropout(0.25)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y)


def test_dropout_keeps_the_type() -> None:
    assert Dropout(0.25)(torch.ones(9, dtype=torch.bfloat16)).dtype == torch.bfloat16
