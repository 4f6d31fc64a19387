"""How much a variant loses by each linear layer: the order in which to leave them in float."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tfm.export.torch_reference import torch_greedy
from tfm.trainer.data.batches import pad
from tfm.trainer.model import Transformer

from .calibrate import ActivationParams
from .linears import LinearLayer, linear_layers
from .rounding import (
    ZERO_LEVEL,
    QuantParams,
    block_size,
    fake_quantize,
    quantize_blocks,
    quantize_rows,
)

SENTENCES = 32  # the differences between layers are large: few sentences show them

Floats = NDArray[np.float32]


def _in_8_bits(rows: Floats) -> Floats:
    values, scales = quantize_rows(rows)
    return values * scales[:, None]


def _in_4_bits(rows: Floats) -> Floats:
    block = block_size(rows.shape[1])
    if block is None:
        return rows
    values, scales = quantize_blocks(rows, block)
    steps = values.astype(np.float32).reshape(*scales.shape, block) - ZERO_LEVEL
    return (steps * scales[:, :, None]).reshape(rows.shape)


ROUNDED: dict[str, Callable[[Floats], Floats]] = {"int8": _in_8_bits, "int4": _in_4_bits}


@torch.no_grad()
def sensitivities(
    model: Transformer, sources: Sequence[Sequence[int]], variant: str, params: ActivationParams
) -> dict[str, float]:
    """What the model's output loses when one linear layer alone is quantized, the worst first.

    The loss is the Kullback-Leibler divergence of the probabilities of the next token from those
    of the float model, along its greedy translations. The error of the layer's own output would
    be cheaper, but says little: a large one may vanish in the next residual sum, while a small one
    in the output projection changes words.

    Args:
        model: in evaluation mode, float32
        sources: token ids of real sentences, of which some SENTENCES are used
        variant: int8 or int4
        params: of the layers' inputs, for int8

    Returns:
        nats per token by name of the layer (linears.py)
    """
    config = model.config
    sample = [sources[i] for i in range(0, len(sources), max(1, len(sources) // SENTENCES))]
    targets = torch_greedy(model, sample)
    source_ids = pad(sample, config.pad_id)
    target_ids = pad([[*config.target_prefix, *ids] for ids in targets], config.pad_id)
    real = pad([[1] * (len(config.target_prefix) + len(ids)) for ids in targets], 0).bool()
    expected = _log_probs(model, source_ids, target_ids)[real]
    losses = {}
    for layer in linear_layers(model):
        with quantized_layer(layer, variant, params.get(layer.name)):
            actual = _log_probs(model, source_ids, target_ids)[real]
        losses[layer.name] = float((expected.exp() * (expected - actual)).sum(dim=1).mean())
    return dict(sorted(losses.items(), key=lambda item: -item[1]))


@contextmanager
def quantized_layer(layer: LinearLayer, variant: str, params: QuantParams | None) -> Iterator[None]:
    """Make PyTorch compute one linear layer as the variant does, inside the with block.

    Args:
        variant: a key of ROUNDED
        params: of the layer's input; None leaves the input in float
    """
    linears = layer.linears
    weights = [linear.weight.data for linear in linears]
    hooks = []
    try:
        for linear in linears:
            linear.weight.data = torch.from_numpy(ROUNDED[variant](linear.weight.detach().numpy()))
            if params is not None:
                hooks.append(linear.register_forward_pre_hook(_quantizes_input(params)))
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for linear, weight in zip(linears, weights, strict=True):
            linear.weight.data = weight


def _quantizes_input(params: QuantParams) -> Callable[[nn.Module, tuple[Tensor]], Tensor]:
    def hook(_module: nn.Module, args: tuple[Tensor]) -> Tensor:
        return torch.from_numpy(fake_quantize(args[0].numpy(), params))

    return hook


def _log_probs(model: Transformer, source_ids: Tensor, target_ids: Tensor) -> Tensor:
    return model(source_ids, target_ids).log_softmax(dim=2)  # type: ignore[no-any-return]
