"""Activation ranges for static int8, from what the PyTorch model computes on real sentences.

Every product's input gets one scale and one zero point, fixed at export: quantizing at run time
then costs one pass over the input, and a row's numbers cannot depend on other rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tfm.export.errors import ExportError
from tfm.export.torch_reference import torch_greedy
from tfm.trainer.config import TransformerConfig
from tfm.trainer.model import Transformer

from .linears import weight_products

Float = TypeVar("Float", np.float32, np.float64)

LEVELS = 255  # steps between the smallest and the largest byte
ROWS = 2048  # kept per product: some 10 tokens of each of 200 sentences
BINS = 2048  # of the histogram that stands for the values: 8 per level
CLIPS = np.linspace(0.3, 1.0, 29)  # shares of the range to try, on either side


@dataclass(frozen=True, slots=True)
class ActivationRange:
    """How a tensor becomes bytes: round(x / scale) + zero_point, clipped to 0..255."""

    scale: float
    zero_point: int


Ranges = Mapping[str, ActivationRange]  # by the name of the product (products.py)


def activation_ranges(model: Transformer, sources: Sequence[Sequence[int]]) -> Ranges:
    """The range of every product's input that loses least on these sentences.

    Args:
        model: in evaluation mode, float32
        sources: token ids of real sentences, some hundred, of all kinds that will be translated

    Raises:
        ExportError: there are no sentences
    """
    inputs = product_inputs(model, sources)
    return {name: best_range(rows.numpy()) for name, rows in inputs.items()}


@torch.no_grad()
def product_inputs(model: Transformer, sources: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """A sample of the rows that each product reads, [at most about ROWS, K], by product name.

    The decoder reads what it would write itself: the greedy translation, teacher forced. Sentences
    go through one by one, so that no row is padding.

    Raises:
        ExportError: there are no sentences
    """
    if not sources:
        raise ExportError("no sentences to calibrate on")
    prefix = model.config.target_prefix
    targets = torch_greedy(model, sources)
    with _recorded_inputs(model, max(1, ROWS // len(sources))) as recorded:
        for source, target in zip(sources, targets, strict=True):
            model(torch.tensor([list(source)]), torch.tensor([[*prefix, *target]]))
    return {name: torch.cat(rows) for name, rows in recorded.items()}


def best_range(values: NDArray[np.float32]) -> ActivationRange:
    """The range with the least squared error of rounding and clipping together.

    A few large values would otherwise cost all others their precision. Zero always has a byte of
    its own; what is never negative, like the output of ReLU, gets all 255 steps for itself.

    Args:
        values: any shape

    Raises:
        ExportError: a value is infinite or not a number
    """
    if not np.isfinite(values).all():
        raise ExportError("activations are not finite: did the training diverge?")
    smallest, largest = min(0.0, float(values.min())), max(0.0, float(values.max()))
    if smallest == largest:
        return ActivationRange(1.0, 0)
    counts, edges = np.histogram(values, BINS, (smallest, largest))
    centres = ((edges[:-1] + edges[1:]) / 2)[counts > 0]
    counts = counts[counts > 0]
    lows = smallest * CLIPS if smallest < 0 else [0.0]
    highs = largest * CLIPS if largest > 0 else [0.0]
    candidates = [_range_between(low, high) for low in lows for high in highs]
    errors = [counts @ np.square(quantized(centres, one) - centres) for one in candidates]
    return candidates[int(np.argmin(errors))]


def quantized(values: NDArray[Float], how: ActivationRange) -> NDArray[Float]:
    """What is left of values after a trip through bytes."""
    steps = np.rint(values / how.scale)
    steps = np.clip(steps, -how.zero_point, LEVELS - how.zero_point)
    return np.asarray(steps * how.scale, values.dtype)


def _range_between(low: float, high: float) -> ActivationRange:
    scale = float(np.float32((high - low) / LEVELS))
    return ActivationRange(scale, round(-low / scale))


def random_sources(config: TransformerConfig, count: int = 8, length: int = 25) -> list[list[int]]:
    """Token ids that mean nothing, for models whose weights mean nothing either."""
    generator = np.random.default_rng(0)
    ids = generator.integers(4, config.source_vocab_size, (count, length))
    return [[int(i) for i in row] for row in ids]


@contextmanager
def _recorded_inputs(model: Transformer, quota: int) -> Iterator[dict[str, list[Tensor]]]:
    """Record rows that the products read: of every call `quota` rows at most, drawn at random."""
    generator = torch.Generator().manual_seed(0)
    recorded: dict[str, list[Tensor]] = {}
    hooks = []
    for product in weight_products(model):
        store = recorded.setdefault(product.name, [])

        def record(
            _module: nn.Module, args: tuple[Tensor, ...], store: list[Tensor] = store
        ) -> None:
            rows = args[0].flatten(0, -2)
            store.append(rows[torch.randperm(len(rows), generator=generator)[:quota]])

        hooks.append(product.linears[0].register_forward_pre_hook(record))
    try:
        yield recorded
    finally:
        for hook in hooks:
            hook.remove()
