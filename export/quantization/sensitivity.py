"""How much each product loses in a variant: the order in which to keep them in float."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tfm.export.torch_reference import torch_greedy
from tfm.trainer.data.batches import pad
from tfm.trainer.model import Transformer

from .calibrate import ActivationRange, Ranges, quantized
from .integers import MIDDLE, block_of, quantize_blocks, quantize_rows
from .linears import Product, weight_products

SENTENCES = 32  # the differences between products are large: few sentences show them

Floats = NDArray[np.float32]


def _in_8_bits(rows: Floats) -> Floats:
    values, scales = quantize_rows(rows)
    return values * scales[:, None]


def _in_4_bits(rows: Floats) -> Floats:
    block = block_of(rows.shape[1])
    if block is None:
        return rows
    values, scales = quantize_blocks(rows, block)
    steps = values.astype(np.float32).reshape(*scales.shape, block) - MIDDLE
    return (steps * scales[:, :, None]).reshape(rows.shape)


ROUNDED: dict[str, Callable[[Floats], Floats]] = {"int8": _in_8_bits, "int4": _in_4_bits}


@torch.no_grad()
def sensitivities(
    model: Transformer, sources: Sequence[Sequence[int]], variant: str, ranges: Ranges
) -> dict[str, float]:
    """What the model's output loses when one product alone is quantized, the worst first.

    The loss is the Kullback-Leibler divergence of the probabilities of the next token from those
    of the float model, along its greedy translations. The error of the product's own output
    would be cheaper, but says little: most of a large error may vanish in the next residual
    sum, while in the last layer and the projection a small one changes words.

    Args:
        model: in evaluation mode, float32
        sources: token ids of real sentences; some are chosen
        variant: int8 or int4
        ranges: of the products' inputs, for int8

    Returns:
        nats per token by name of the product (products.py)
    """
    config = model.config
    chosen = [sources[i] for i in range(0, len(sources), max(1, len(sources) // SENTENCES))]
    targets = torch_greedy(model, chosen)
    source_ids = pad(chosen, config.pad_id)
    target_ids = pad([[*config.target_prefix, *ids] for ids in targets], config.pad_id)
    real = pad([[1] * (len(config.target_prefix) + len(ids)) for ids in targets], 0).bool()
    expected = _log_probs(model, source_ids, target_ids)[real]
    losses = {}
    for product in weight_products(model):
        with quantized_product(product, variant, ranges.get(product.name)):
            found = _log_probs(model, source_ids, target_ids)[real]
        losses[product.name] = float((expected.exp() * (expected - found)).sum(dim=1).mean())
    return dict(sorted(losses.items(), key=lambda item: -item[1]))


@contextmanager
def quantized_product(
    product: Product, variant: str, range_: ActivationRange | None
) -> Iterator[None]:
    """Let PyTorch compute one product as the variant does, for a while."""
    linears = product.linears
    weights = [linear.weight.data for linear in linears]
    hooks = []
    try:
        for linear in linears:
            linear.weight.data = torch.from_numpy(ROUNDED[variant](linear.weight.detach().numpy()))
            if range_ is not None:
                hooks.append(linear.register_forward_pre_hook(_quantizes_input(range_)))
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for linear, weight in zip(linears, weights, strict=True):
            linear.weight.data = weight


def _quantizes_input(range_: ActivationRange) -> Callable[[nn.Module, tuple[Tensor]], Tensor]:
    def hook(_module: nn.Module, args: tuple[Tensor]) -> Tensor:
        return torch.from_numpy(quantized(args[0].numpy(), range_))

    return hook


def _log_probs(model: Transformer, source_ids: Tensor, target_ids: Tensor) -> Tensor:
    return model(source_ids, target_ids).log_softmax(dim=2)  # type: ignore[no-any-return]
