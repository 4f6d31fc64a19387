"""The loss of a batch asks the device for nothing."""

import pytest
import torch
from torch import Tensor

from tfm.trainer import loss
from tfm.trainer.config import TransformerConfig
from tfm.trainer.loss import batch_loss
from tfm.trainer.model import Transformer


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
