"""Scales and zero points for static int8, from what the PyTorch model computes on real sentences.

The input of every linear layer gets one scale and one zero point, fixed at export: quantizing at
run time then costs one pass over the input, and no row depends on other rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tfm.export.errors import ExportError
from tfm.export.torch_reference import torch_greedy
from tfm.trainer.config import TransformerConfig
from tfm.trainer.model import Transformer

from .linears import linear_layers
from .rounding import LEVELS, QuantParams, fake_quantize

ROWS = 2048  # sampled per linear layer: some 10 tokens of each of 200 sentences
BINS = 2048  # of the histogram that stands for the values: 8 per level
CLIPS = np.linspace(0.3, 1.0, 29)  # shares of the range to try, on either side


ActivationParams = Mapping[
    str, QuantParams
]  # of inputs, by the name of the linear layer (linears.py)


def activation_params(model: Transformer, sources: Sequence[Sequence[int]]) -> ActivationParams:
    """The parameters of every linear layer's input that lose least on these sentences.

    Args:
        model: in evaluation mode, float32
        sources: token ids of some hundred real sentences, like those that will be translated

    Raises:
        ExportError: there are no sentences
    """
    return params_of(layer_inputs(model, sources))


def params_of(inputs: Mapping[str, Tensor]) -> ActivationParams:
    """The parameters that lose least on what `layer_inputs` sampled."""
    return {name: best_params(rows.numpy()) for name, rows in inputs.items()}


@torch.no_grad()
def layer_inputs(model: Transformer, sources: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """A sample of the rows that each linear layer reads, by the layer's name (linears.py).

    The decoder reads the model's own greedy translation, teacher forced. Sentences go through one
    by one, so that no row is padding.

    Args:
        model: in evaluation mode, float32
        sources: token ids of sentences

    Returns:
        rows [at most about ROWS, K] of every layer

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


def best_params(values: NDArray[np.float32]) -> QuantParams:
    """The parameters with the least squared error of rounding and clipping together.

    Without clipping, a few large values would cost all others their precision. Zero is always
    represented exactly; values that are never negative, like the output of ReLU, get all 255 steps.

    Args:
        values: any shape

    Raises:
        ExportError: a value is infinite or not a number
    """
    if not np.isfinite(values).all():
        raise ExportError("activations are not finite: did the training diverge?")
    smallest, largest = min(0.0, float(values.min())), max(0.0, float(values.max()))
    if smallest == largest:
        return QuantParams(1.0, 0)
    counts, edges = np.histogram(values, BINS, (smallest, largest))
    centres = ((edges[:-1] + edges[1:]) / 2)[counts > 0]
    counts = counts[counts > 0]
    lows = smallest * CLIPS if smallest < 0 else [0.0]
    highs = largest * CLIPS if largest > 0 else [0.0]
    candidates = [_params_between(low, high) for low in lows for high in highs]
    errors = [counts @ np.square(fake_quantize(centres, params) - centres) for params in candidates]
    return candidates[int(np.argmin(errors))]


def _params_between(low: float, high: float) -> QuantParams:
    scale = float(np.float32((high - low) / LEVELS))
    return QuantParams(scale, round(-low / scale))


def random_sources(config: TransformerConfig, count: int = 8, length: int = 25) -> list[list[int]]:
    """Random token ids, to calibrate models with random weights."""
    generator = np.random.default_rng(0)
    ids = generator.integers(4, config.source_vocab_size, (count, length))
    return [[int(i) for i in row] for row in ids]


@contextmanager
def _recorded_inputs(model: Transformer, quota: int) -> Iterator[dict[str, list[Tensor]]]:
    """Record rows that the linear layers read: at most `quota` of every call, drawn at random."""
    generator = torch.Generator().manual_seed(0)
    recorded: dict[str, list[Tensor]] = {}
    hooks = []
    for layer in linear_layers(model):
        store = recorded.setdefault(layer.name, [])

        def record(
            _module: nn.Module, args: tuple[Tensor, ...], store: list[Tensor] = store
        ) -> None:
            rows = args[0].flatten(0, -2)
            store.append(rows[torch.randperm(len(rows), generator=generator)[:quota]])

        hooks.append(layer.linears[0].register_forward_pre_hook(record))
    try:
        yield recorded
    finally:
        for hook in hooks:
            hook.remove()
