"""Marian's names and layouts of the weights of this model.

Marian multiplies from the left, x W, so a matrix is [in, out] and a bias [1, out]. A layer
normalization is named after the operation it belongs to, with `_pre` where it comes first.

Shapes: D d_model, F d_ff, V vocabulary.
"""

import re

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tfm.trainer.checkpoint import Weights, check_finite, weights_of
from tfm.trainer.errors import TrainError
from tfm.trainer.importing.npz import Arrays
from tfm.trainer.importing.weights import some
from tfm.trainer.model import Transformer

from .settings import SETTINGS, MarianSettings

IN_LAYER = {
    "self_attention.": "self_",
    "cross_attention.": "context_",
    "feed_forward.": "ffn_",
    "ssru.": "rnn_",
}
NORMS = {
    "self_attention_residual.norm.": "self_Wo_ln_",
    "cross_attention_residual.norm.": "context_Wo_ln_",
    "feed_forward_residual.norm.": "ffn_ffn_ln_",
    "ssru_residual.norm.": "rnn_ffn_ln_",
}
NORMS_BEFORE = {**NORMS, "ssru_residual.norm.": "rnn_ln_"}
LINEARS = {
    **{f"{letter}_proj": letter for letter in "qkv"},
    "out_proj": "o",
    "inner": "1",
    "outer": "2",
    "input_proj": "",
    "forget_proj": "f",
}
NORM_KINDS = {"weight": "scale", "bias": "bias"}
TABLES = {
    "source_embeddings.tokens.weight": ("encoder_Wemb", "Wemb"),
    "target_embeddings.tokens.weight": ("decoder_Wemb", "Wemb"),
}
OUTPUT = "decoder_ff_logit_out"
# What adds the same to all scores of a query, and what only speeds Marian up.
WITHOUT_EFFECT = re.compile(
    r".*_bk|lsh_output_(codes|rotation)|.*_QuantMultA|" + re.escape(SETTINGS)
)


def vocabulary_sizes(arrays: Arrays) -> tuple[int, int]:
    """Tokens of source and target: the rows of the embeddings.

    Raises:
        TrainError: there are none, or they are no tables
    """
    sizes = []
    for names in TABLES.values():
        name = next((name for name in names if name in arrays), None)
        if name is None:
            raise TrainError(f"{' and '.join(names)} are missing")
        if arrays[name].ndim != 2:
            raise TrainError(f"{name} has the shape {list(arrays[name].shape)}: no table")
        sizes.append(arrays[name].shape[0])
    return sizes[0], sizes[1]


def from_marian(model: Transformer, arrays: Arrays, settings: MarianSettings) -> Weights:
    """Marian's weights under our names, float32.

    The vocabularies of model may be larger than Marian's: the additional tokens are zero. So are
    the additional inner units of the stack with the narrower feed-forward layers, whose activation
    of zero is zero.

    Raises:
        TrainError: a weight is missing, unknown, of another shape, or not a finite number
    """
    reader = _ArrayReader(arrays, settings)
    sizes = dict(zip(("source", "target"), vocabulary_sizes(arrays), strict=True))
    weights: Weights = {}
    for name, expected in weights_of(model).items():
        tensor = reader.read(name)
        own = list(expected.shape)
        if name in TABLES or name.startswith("projection."):
            own[0] = sizes["source" if name.startswith("source") else "target"]
        elif ".feed_forward.inner." in name:
            own[0] = settings.inner_width(name)
        elif name.endswith(".feed_forward.outer.weight"):
            own[1] = settings.inner_width(name)
        if list(tensor.shape) != own:
            theirs = reader.names[name]
            raise TrainError(
                f"{theirs} is {list(arrays[theirs].shape)}, which is not what {SETTINGS} says"
            )
        missing = [size - there for size, there in zip(expected.shape, own, strict=True)]
        padding = [number for size in reversed(missing) for number in (0, size)]
        weights[name] = F.pad(tensor, padding)
    check_finite({reader.names[name]: tensor for name, tensor in weights.items()})
    unknown = sorted(arrays.keys() - set(reader.names.values()))
    unknown = [name for name in unknown if not WITHOUT_EFFECT.fullmatch(name)]
    if unknown:
        raise TrainError(f"{some(unknown)} not of this architecture")
    return weights


class _ArrayReader:
    """Marian's arrays by our names.

    Attributes:
        names: Marian's names of what was read, by ours
    """

    def __init__(self, arrays: Arrays, settings: MarianSettings) -> None:
        self.arrays, self.settings = arrays, settings
        self.names: dict[str, str] = {}

    def read(self, name: str) -> Tensor:
        """One of our weights, of Marian's size."""
        transposed = False
        if name in TABLES:
            theirs = self._first(*TABLES[name])
        elif name == "projection.weight":
            # Early versions had the output's matrix the other way round, like all others.
            theirs = self._first(f"{OUTPUT}_Wt", f"{OUTPUT}_W", *self._tied_output())
            transposed = theirs.endswith("_W")
        elif name == "projection.bias":
            theirs = f"{OUTPUT}_b"
        elif name.startswith(("encoder_norm.", "decoder_norm.")):
            side, kind = name.split("_norm.")
            theirs = f"{side}_top_ln_{NORM_KINDS[kind]}"
        else:
            theirs, transposed = self._in_layer(name)
        self.names[name] = self._first(theirs)
        array = self.arrays[theirs]
        if array.dtype.kind != "f":
            raise TrainError(f"{theirs} holds {array.dtype}: floating-point numbers are needed")
        tensor = torch.from_numpy(np.array(array, dtype=np.float32))
        if transposed and tensor.dim() == 2:
            return tensor.T
        is_vector = name.endswith(".bias") or "norm." in name
        return tensor.flatten() if is_vector else tensor

    def _in_layer(self, name: str) -> tuple[str, bool]:
        side, number, rest = name.split(".", 2)
        index = int(number)
        layer = index + 1 if side == "encoder" else self.settings.decoder_names[index]
        prefix = f"{side}_l{layer}_"
        pre = self.settings.norm == "pre"
        for ours, theirs in (NORMS_BEFORE if pre else NORMS).items():
            if rest.startswith(ours):
                end = "_pre" if pre else ""
                return f"{prefix}{theirs}{NORM_KINDS[rest.removeprefix(ours)]}{end}", False
        part = next(part for part in IN_LAYER if rest.startswith(part))
        linear, kind = rest.removeprefix(part).split(".")
        letter = "W" if kind == "weight" else "b"
        return f"{prefix}{IN_LAYER[part]}{letter}{LINEARS[linear]}", kind == "weight"

    def _tied_output(self) -> tuple[str, ...]:
        return ("Wemb", "decoder_Wemb") if self.settings.tied in ("target", "all") else ()

    def _first(self, *names: str) -> str:
        found = next((name for name in names if name in self.arrays), None)
        if found is None:
            raise TrainError(f"{' or '.join(names)} is missing")
        return found
