"""Random models, and the toy task's checkpoint and model folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from click.testing import CliRunner

from tfm.runtime.commands.cli import cli
from tfm.trainer.config import TransformerConfig
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer

MakeModel = Callable[..., Transformer]


def random_model(
    *,
    seed: int = 0,
    eos_scale: float = 1.0,
    eos_bonus: float = 2.0,
    **config: Any,
) -> Transformer:
    """Every parameter random, biases and norms too: at their usual 0 and 1 they hide mistakes.

    eos_scale and eos_bonus are to make hypotheses end, some early and some late.
    """
    torch.manual_seed(seed)
    model = Transformer(TransformerConfig(dropout=0.0, **config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
        pre = model.config.norm == "pre"
        last = model.decoder_norm if pre else model.decoder_layers[-1].feed_forward_residual.norm
        eos = model.projection.weight[model.config.eos_id]
        eos.mul_(eos_scale)
        last.get_parameter("bias").add_(eos * (eos_bonus / eos.dot(eos)))
    return model


class NoVocabulary(Vocabulary):
    """For a model that only ever sees ids."""

    def __init__(self) -> None:
        self.source = self.target = None

    def save(self, folder: Path) -> None:
        (folder / "source.spm").write_bytes(b"")


@dataclass(frozen=True)
class Printed:
    """What a command wrote."""

    stdout: str
    stderr: str


@dataclass(frozen=True)
class Toy:
    """What `tfm train` and `tfm export` made of the numerals, and numbers they never saw."""

    checkpoint: Path
    unseen: list[int]
    trained: Printed


@dataclass(frozen=True)
class ToyExport:
    """The model folder that `tfm export` wrote, and what it printed."""

    folder: Path
    exported: Printed


def tfm(*arguments: str) -> Printed:
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output[-1000:]
    return Printed(result.stdout, result.stderr)
