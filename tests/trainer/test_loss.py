"""The loss of a batch: equal to torch's, and it never waits for the device."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tfm.trainer import loss
from tfm.trainer.config import TransformerConfig
from tfm.trainer.loss import LOSS_CHUNK, batch_loss, projected_cross_entropy
from tfm.trainer.model import Transformer

SIZES = [1, LOSS_CHUNK - 1, LOSS_CHUNK, LOSS_CHUNK + 1, 2 * LOSS_CHUNK + 9]


def test_a_batch_is_counted_without_waiting_for_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The meta device has no values: whatever asked for one would fail."""
    rows = []

    def projected(
        hidden: Tensor, _weight: Tensor, _bias: Tensor, labels: Tensor, _: float
    ) -> Tensor:
        rows.append((tuple(hidden.shape), tuple(labels.shape)))
        return hidden.sum()

    monkeypatch.setattr(loss, "projected_cross_entropy", projected)
    config = TransformerConfig(source_vocab_size=9, target_vocab_size=9, d_model=16, dropout=0.0)
    with torch.device("meta"):
        model = Transformer(config)
    source_ids = torch.tensor([[4, 5, 3], [6, 3, 0]])
    target_ids = torch.tensor([[2, 4, 5, 3], [2, 6, 3, 0]])
    total, tokens = batch_loss(model, source_ids, target_ids, 0.1)
    assert total.device.type == "meta"
    assert tokens == 5
    assert rows == [((5, 16), (5,))]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("rows", SIZES)
def test_loss_and_gradients_equal_torch(rows: int, smoothing: float) -> None:
    torch.manual_seed(rows)
    hidden = torch.randn(rows, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(17, 8, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(17, dtype=torch.float64, requires_grad=True) if rows % 2 else None
    labels = torch.randint(17, (rows,))

    expected = F.cross_entropy(
        F.linear(hidden, weight, bias), labels, label_smoothing=smoothing, reduction="sum"
    )
    trained = [hidden, weight, *([] if bias is None else [bias])]
    grads = torch.autograd.grad(expected * 0.7, trained)
    loss = projected_cross_entropy(hidden, weight, bias, labels, smoothing)
    (loss * 0.7).backward()

    # probabilities are in single precision whatever the type of the inputs
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(hidden.grad, grads[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(weight.grad, grads[1], rtol=1e-5, atol=1e-5)
    if bias is not None:
        torch.testing.assert_close(bias.grad, grads[2].float().double(), rtol=1e-5, atol=1e-5)


def test_loss_of_a_sure_and_of_an_ignorant_model() -> None:
    labels = torch.arange(5)
    sure = 1e3 * torch.eye(5)
    assert float(projected_cross_entropy(sure, torch.eye(5), None, labels, 0.0)) == 0
    wrong = projected_cross_entropy(sure, torch.eye(5), None, labels.roll(1), 0.0)
    assert float(wrong) == 5e3  # though the label's probability is none in single precision
    uniform = projected_cross_entropy(torch.zeros(5, 5), torch.eye(5), None, labels, 0.1)
    assert float(uniform) == pytest.approx(5 * math.log(5))


def test_loss_under_autocast_is_close_and_has_the_types_of_its_inputs() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(300, 16, requires_grad=True)
    weight = torch.randn(20, 16, requires_grad=True)
    labels = torch.randint(20, (300,))
    expected = F.cross_entropy(hidden @ weight.T, labels, label_smoothing=0.1, reduction="sum")
    grads = torch.autograd.grad(expected, (hidden, weight))
    with torch.autocast("cpu", torch.bfloat16):
        loss = projected_cross_entropy(hidden.to(torch.bfloat16), weight, None, labels, 0.1)
    loss.backward()
    assert loss.dtype == weight.grad.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=0.01)
    torch.testing.assert_close(hidden.grad, grads[0], rtol=0, atol=0.1)
    torch.testing.assert_close(weight.grad, grads[1], rtol=0.02, atol=1.0)
