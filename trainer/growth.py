"""A trained model made larger, so that it says at first exactly what it said before.

A new layer begins as a copy of the layer before it with its sub-layers' last matrices at zero: in a
pre-norm model it then passes on what it reads (compare Net2DeeperNet, Chen et al. 2016, and the
stacking of trained layers, Gong et al. 2019). New units of a feed-forward network have random
incoming weights and outgoing ones of zero. Training moves both away from zero.
"""

import dataclasses
import re

import torch
from torch import Tensor

from .checkpoint import build_model, weights_of
from .config import TransformerConfig
from .errors import TrainError
from .model import Transformer

STACKS = ("encoder", "decoder")
# The last linear maps of sub-layers: at zero, the sub-layer adds nothing to its input.
LAST_MAPS = ("self_attention.out_proj", "cross_attention.out_proj", "feed_forward.outer")
GROWING = {"encoder_layers", "decoder_layers", "d_ff"}


def grow(model: Transformer, config: TransformerConfig) -> Transformer:
    """The model with more layers or more units in its feed-forward networks.

    Args:
        model: trained, pre-norm, its decoder with self-attention
        config: its configuration with a larger encoder_layers, decoder_layers or d_ff

    Returns:
        a model of that configuration with the same outputs, rounding aside

    Raises:
        TrainError: post-norm, a recurrent decoder, or a configuration that asks for anything else
    """
    old = model.config
    if old.norm != "pre":
        raise TrainError(
            "--grow needs a pre-norm model: a new layer of a post-norm one would normalize again"
        )
    if config.decoder_layers > old.decoder_layers and old.decoder_autoregression == "ssru":
        raise TrainError("--grow cannot add layers to a recurrent decoder: keep decoder_layers")
    for name, wanted in dataclasses.asdict(config).items():
        had = getattr(old, name)
        if wanted != had and not (name in GROWING and wanted > had):
            raise TrainError(
                f"--grow: the model has {name} {had} and the recipe wants {wanted}; only "
                f"{', '.join(sorted(GROWING))} can change, and only grow"
            )
    weights = dict(weights_of(model))
    for stack in STACKS:
        depth, wanted = (getattr(c, f"{stack}_layers") for c in (old, config))
        weights = _deeper(weights, stack, depth, wanted)
    return build_model(config, _wider(weights, config.d_ff - old.d_ff))


def _deeper(weights: dict[str, Tensor], stack: str, depth: int, wanted: int) -> dict[str, Tensor]:
    """New layers spread evenly over the stack, each after the one that it is a copy of."""
    layer = re.compile(rf"{stack}\.(\d+)\.(.*)")
    deeper = {name: weight for name, weight in weights.items() if not layer.fullmatch(name)}
    origins = [index * depth // wanted for index in range(wanted)]
    for index, origin in enumerate(origins):
        is_new = index > 0 and origins[index - 1] == origin
        for name, weight in weights.items():
            match = layer.fullmatch(name)
            if match and int(match[1]) == origin:
                is_last = is_new and match[2].rpartition(".")[0] in LAST_MAPS
                deeper[f"{stack}.{index}.{match[2]}"] = (
                    torch.zeros_like(weight) if is_last else weight.clone()
                )
    return deeper


def _wider(weights: dict[str, Tensor], units: int) -> dict[str, Tensor]:
    """`units` more inner units in every feed-forward network."""
    wider = dict(weights)
    for name, weight in weights.items():
        if name.endswith("feed_forward.inner.weight"):
            new = weight.new_empty(units, weight.shape[1])
            torch.nn.init.normal_(new, std=float(weight.std()))
            wider[name] = torch.cat((weight, new))
        elif name.endswith("feed_forward.inner.bias"):
            wider[name] = torch.cat((weight, weight.new_zeros(units)))
        elif name.endswith("feed_forward.outer.weight"):
            wider[name] = torch.cat((weight, weight.new_zeros(weight.shape[0], units)), dim=1)
    return wider
