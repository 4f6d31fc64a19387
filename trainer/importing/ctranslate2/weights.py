"""CTranslate2's names and layouts of the weights of this model.

A matrix is [out, in]. The projections that read the same are one matrix: of self-attention
queries, keys and values, of cross-attention keys and values.

Shapes: D d_model, F d_ff, V vocabulary.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from tfm.trainer.checkpoint import Weights, check_finite, weights_of
from tfm.trainer.config import TransformerConfig
from tfm.trainer.errors import TrainError
from tfm.trainer.importing.npz import Arrays
from tfm.trainer.importing.weights import some
from tfm.trainer.model import Transformer
from tfm.trainer.positions import sinusoidal_positions

SOURCE, SOURCE_FIRST = "encoder/embeddings/weight", "encoder/embeddings_0/weight"
TARGET, OUTPUT = "decoder/embeddings/weight", "decoder/projection/weight"
OUTPUT_BIAS = "decoder/projection/bias"
ENCODINGS = ("encoder/position_encodings/encodings", "decoder/position_encodings/encodings")
# Ours, theirs; of several in one matrix the place, and how many there are.
LINEARS: Mapping[str, tuple[str, int, int]] = {
    **{f"self_attention.{p}_proj": ("self_attention/linear_0", i, 3) for i, p in enumerate("qkv")},
    "self_attention.out_proj": ("self_attention/linear_1", 0, 1),
    "cross_attention.q_proj": ("attention/linear_0", 0, 1),
    "cross_attention.k_proj": ("attention/linear_1", 0, 2),
    "cross_attention.v_proj": ("attention/linear_1", 1, 2),
    "cross_attention.out_proj": ("attention/linear_2", 0, 1),
    "feed_forward.inner": ("ffn/linear_0", 0, 1),
    "feed_forward.outer": ("ffn/linear_1", 0, 1),
}
NORMS: Mapping[str, str] = {
    "self_attention_residual.norm": "self_attention/layer_norm",
    "cross_attention_residual.norm": "attention/layer_norm",
    "feed_forward_residual.norm": "ffn/layer_norm",
}
NORM_KINDS = {"weight": "gamma", "bias": "beta"}
KINDS_OF_POSITIONS = ("paper", "marian", "fairseq")
FIRST_POSITIONS = (0, 1, 2)
POSITIONS_TOLERANCE = 5e-3  # they may be stored in bfloat16

Order = Sequence[int | None]  # of each of our tokens the number of theirs; None for a new one


def table(arrays: Arrays, *names: str) -> tuple[int, int]:
    """The shape of the first of these that is there.

    Raises:
        TrainError: there is none, or it is no table
    """
    name = next((name for name in names if name in arrays), None)
    if name is None:
        raise TrainError(f"{' or '.join(names)} is missing")
    if arrays[name].ndim != 2:
        raise TrainError(f"{name} has the shape {list(arrays[name].shape)}: no table")
    rows, columns = arrays[name].shape
    return rows, columns


def count_layers(arrays: Arrays, side: str) -> int:
    """Layers of the encoder or the decoder."""
    prefix = f"{side}/layer_"
    numbers = {name.removeprefix(prefix).split("/")[0] for name in arrays if prefix in name}
    return len({number for number in numbers if number.isdigit()})


def tied_embeddings(arrays: Arrays) -> str:
    """Which matrices are one, as in TransformerConfig."""
    source = arrays.get(SOURCE, arrays.get(SOURCE_FIRST))
    target, output = arrays.get(TARGET), arrays.get(OUTPUT)
    if target is None or output is None or not np.array_equal(target, output):
        return "none"
    return "all" if source is not None and np.array_equal(source, target) else "target"


def positions_of(arrays: Arrays, d_model: int) -> dict[str, object]:
    """`positions` and `first_position` of TransformerConfig.

    Where no table is stored CTranslate2 computes fairseq's, from position 1 on.

    Raises:
        TrainError: the tables are of no known kind, or learned
    """
    tables = [arrays[name] for name in ENCODINGS if name in arrays]
    if not tables:
        return {"positions": "fairseq", "first_position": 1}
    candidates: list[dict[str, object]] = [
        {"positions": kind, "first_position": first}
        for kind in KINDS_OF_POSITIONS
        for first in FIRST_POSITIONS
    ]
    errors = [max(_error(one, d_model, found) for one in tables) for found in candidates]
    if min(errors) > POSITIONS_TOLERANCE:
        raise TrainError(
            f"{ENCODINGS[0]} is no table of sinusoidal positions: learned positions are not "
            "supported"
        )
    return candidates[errors.index(min(errors))]


def _error(encodings: np.ndarray, d_model: int, found: Mapping[str, object]) -> float:
    """The largest difference of a table from the positions of a configuration."""
    if encodings.ndim != 2 or encodings.shape[1] != d_model or not len(encodings):
        return float("inf")
    sizes = {"source_vocab_size": 1, "target_vocab_size": 1, "d_model": d_model, "num_heads": 1}
    config = TransformerConfig(**sizes, **found)  # type: ignore[arg-type]
    ours = sinusoidal_positions(torch.arange(float(len(encodings))), config).numpy()
    return float(np.abs(ours - encodings).max())


def from_ctranslate2(
    model: Transformer, arrays: Arrays, orders: tuple[Order, Order], read: Collection[str]
) -> Weights:
    """CTranslate2's weights under our names, float32.

    Args:
        orders: the tokens of source and target, as our vocabularies have them
        read: names that were read already

    Raises:
        TrainError: a weight is missing, unknown, of another shape, or not a finite number
    """
    reader = _VariableReader(arrays, orders)
    weights: Weights = {}
    for name, expected in weights_of(model).items():
        tensor = reader.read(name)
        if tensor.shape != expected.shape:
            raise TrainError(
                f"{reader.last} gives {name} the shape {list(tensor.shape)}, and the other weights "
                f"{list(expected.shape)}"
            )
        weights[name] = tensor
    check_finite(weights)
    unknown = sorted(arrays.keys() - reader.used - set(read) - {*ENCODINGS, TARGET, OUTPUT})
    if unknown:
        raise TrainError(f"{some(unknown)} not of this architecture")
    return weights


class _VariableReader:
    """Arrays by our names.

    Attributes:
        used: theirs of what was read
        last: theirs of what was read last
    """

    def __init__(self, arrays: Arrays, orders: tuple[Order, Order]) -> None:
        self._arrays = arrays
        self._source, self._target = orders
        self.used: set[str] = set()
        self.last = ""

    def read(self, name: str) -> Tensor:
        """One of our weights."""
        if name == "source_embeddings.tokens.weight":
            return self._ordered(self._source, SOURCE, SOURCE_FIRST)
        if name == "target_embeddings.tokens.weight":
            return self._ordered(self._target, TARGET)
        if name == "projection.weight":
            return self._ordered(self._target, OUTPUT)
        if name == "projection.bias":
            return self._ordered(self._target, OUTPUT_BIAS)
        if name.startswith(("encoder_norm.", "decoder_norm.")):
            side, kind = name.split("_norm.")
            return torch.from_numpy(self._array(f"{side}/layer_norm/{NORM_KINDS[kind]}"))
        side, number, rest = name.split(".", 2)
        part, kind = rest.rsplit(".", 1)
        prefix = f"{side}/layer_{number}/"
        if part in NORMS:
            return torch.from_numpy(self._array(f"{prefix}{NORMS[part]}/{NORM_KINDS[kind]}"))
        linear, place, count = LINEARS[part]
        if f"{prefix}{linear}/{kind}" not in self._arrays and kind == "bias":
            size = len(self._array(f"{prefix}{linear}/weight"))
            return torch.zeros(size // count)
        joined = self._array(f"{prefix}{linear}/{kind}")
        if len(joined) % count:
            raise TrainError(f"{self.last} has {len(joined)} rows: {count} equal parts are needed")
        return torch.from_numpy(np.split(joined, count)[place].copy())

    def _ordered(self, order: Order, *names: str) -> Tensor:
        given = self._array(*names)
        known = [number for number in order if number is not None]
        if len(given) != len(known):
            raise TrainError(f"{self.last} has {len(given)} rows, the vocabulary {len(known)}")
        rows = np.zeros((len(order), *given.shape[1:]), np.float32)
        rows[[place for place, number in enumerate(order) if number is not None]] = given[known]
        return torch.from_numpy(rows)

    def _array(self, *names: str) -> np.ndarray:
        found = next((name for name in names if name in self._arrays), None)
        if found is None:
            raise TrainError(f"{' or '.join(names)} is missing")
        self.used.add(found)
        self.last = found
        array = self._arrays[found]
        if array.dtype.kind != "f" or not array.ndim:
            raise TrainError(f"{found} holds {array.dtype}: floating-point numbers are needed")
        return np.array(array, dtype=np.float32)
