"""FLOPs of a training step, held to what torch counts, operator by operator."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tfm.trainer.config import TransformerConfig
from tfm.trainer.flops import peak_tflops, training_flops
from tfm.trainer.model import Transformer


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"encoder_layers": 3, "decoder_layers": 1, "d_ff": 40, "num_heads": 4},
        {"tied_embeddings": "target", "norm": "pre"},
        {"decoder_autoregression": "ssru"},
    ],
)
def test_equal_to_torchs_count(changes: dict[str, Any], tiny_model: Transformer) -> None:
    config: TransformerConfig = dataclasses.replace(tiny_model.config, **changes)
    model = Transformer(config)
    batch, source, target = 3, 7, 5
    source_ids = torch.randint(4, config.source_vocab_size, (batch, source))
    target_ids = torch.randint(4, config.target_vocab_size, (batch, target))
    with FlopCounterMode(display=False) as counter:
        model(source_ids, target_ids).sum().backward()
    found = training_flops(config, np.full(batch, source), np.full(batch, target))
    assert found == counter.get_total_flops()


def test_sentences_add_up(tiny_model: Transformer) -> None:
    config, source, target = tiny_model.config, np.array([3, 9]), np.array([8, 2])
    apart = [training_flops(config, source[i : i + 1], target[i : i + 1]) for i in range(2)]
    assert training_flops(config, source, target) == sum(apart)


@pytest.mark.parametrize(
    ("name", "precision", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989.0),
        ("NVIDIA H100 PCIe", "bf16", 756.0),
        ("NVIDIA L40S", "bf16", 362.0),
        ("NVIDIA L4", "bf16", 121.0),
        ("NVIDIA A100-SXM4-80GB", "bf16", 312.0),
        ("NVIDIA L40", "bf16", None),
        ("NVIDIA RTX A1000", "bf16", None),
        ("NVIDIA H100 80GB HBM3", "fp32", None),
        ("Another", "bf16", None),
    ],
)
def test_peak(
    name: str, precision: str, peak: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: name)
    assert peak_tflops(torch.device("cuda"), precision) == peak
    assert peak_tflops(torch.device("cpu"), precision) is None
