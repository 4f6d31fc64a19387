"""What the paper argues against, as changes to a Transformer that is built: experiments only.

model.py stays the paper's model. Everything that an ablation does not name starts with the weights
that the paper's model gets from the same seed.
"""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfm.trainer.config import TransformerConfig
from tfm.trainer.errors import TrainError
from tfm.trainer.model import MultiHeadAttention, Residual, Transformer
from tfm.trainer.positions import Positions

MAX_POSITIONS = 512  # that learned_positions has

Module = TypeVar("Module", bound=nn.Module)


class BatchNorm(nn.Module):
    """Batch normalization (Ioffe and Szegedy 2015) of every feature over a batch's positions.

    Takes LayerNorm's place: mean and variance are of one feature over all B x L positions, not of
    one position over all features. Padding counts, so that in training a sentence's output depends
    on how it is batched, and the decoder sees something of the tokens that follow: their share in
    the statistics. Evaluation has neither: it takes the running statistics.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, d_model: int, epsilon: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.epsilon, self.momentum = epsilon, momentum
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        # Not nn.BatchNorm1d: its count of batches is an integer, which has no mean of checkpoints.
        self.register_buffer("running_mean", torch.zeros(d_model))
        self.register_buffer("running_var", torch.ones(d_model))

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, D] to [B, L, D]; in training at least two positions."""
        rows = F.batch_norm(
            x.flatten(0, -2),
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.epsilon,
        )
        return rows.view_as(x)


class Unconnected(Residual):
    """A sub-layer without the residual connection around it: its output alone goes on.

    Post-norm: LayerNorm(Dropout(sublayer(x))). Pre-norm: Dropout(sublayer(LayerNorm(x))).
    """

    def after(self, x: Tensor, output: Tensor) -> Tensor:
        """The sub-layer's output; x [B, L, D] is dropped."""
        output = self.dropout(output)
        return output if self.pre_norm else self.norm(output)


class LearnedPositions(nn.Module):
    """A trained vector per position (Gehring et al. 2017; table 3, row E), up to MAX_POSITIONS.

    They start with standard deviation D^-0.5, small beside the embeddings' 1.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(MAX_POSITIONS, config.d_model))
        nn.init.normal_(self.table, std=config.d_model**-0.5)

    def forward(self, ids: Tensor) -> Tensor:
        """What to add to the embeddings of ids [B, L]; returns [L, D].

        Raises:
            TrainError: L is above MAX_POSITIONS
        """
        length = ids.shape[1]
        if length > MAX_POSITIONS:
            raise TrainError(
                f"learned_positions ends at {MAX_POSITIONS} tokens: leave out a sentence of "
                f"{length}"
            )
        return self.table[:length]


class NoPositions(nn.Module):
    """Nothing says where a token stands."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.d_model = config.d_model

    def forward(self, ids: Tensor) -> Tensor:
        """Zeros [L, D] for ids [B, L]."""
        return torch.zeros(ids.shape[1], self.d_model, device=ids.device)


def build_transformer(config: TransformerConfig) -> Transformer:
    """The network of a configuration, with its ablations if there are any."""
    model = Transformer(dataclasses.replace(config, ablations=()))
    model.config = config
    _ablate(model, config)
    return model


def _ablate(model: Transformer, config: TransformerConfig) -> None:
    """Change the model as the configuration's `ablations` say."""
    for name in config.ablations:
        if name == "batch_norm":
            _replace(model, nn.LayerNorm, lambda _: BatchNorm(config.d_model))
        elif name == "no_scaling":
            for module in model.modules():
                if isinstance(module, MultiHeadAttention):
                    module.scale = 1.0
        elif name == "no_residual":
            _replace(model, Residual, lambda residual: _unconnected(residual, config))
        elif name == "learned_positions":
            _replace(model, Positions, lambda _: LearnedPositions(config))
        elif name == "no_positions":
            _replace(model, Positions, lambda _: NoPositions(config))


def _replace(model: nn.Module, kind: type[Module], make: Callable[[Module], nn.Module]) -> None:
    """Put make(module) in the place of every module of the kind."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, kind):
                setattr(parent, name, make(child))


def _unconnected(residual: Residual, config: TransformerConfig) -> Unconnected:
    made = Unconnected(config)
    made.norm = residual.norm  # batch_norm may have been there
    return made
