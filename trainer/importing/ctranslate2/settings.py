"""What a CTranslate2 model says of itself, in config.json and, before version 6, in its variables.

Two things are no part of our Transformer and become part of its vocabulary: a decoder that begins
with a zero vector begins with a token whose embedding is zero, and padding, which CTranslate2 masks
by length, is a token of its own where the vocabulary has none.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tfm.trainer.errors import TrainError
from tfm.trainer.importing.npz import Arrays

from .binary import Variables

logger = logging.getLogger(__name__)

# Specifications of an encoder and a decoder, with the heads of those that do not say.
SPECIFICATIONS = {"TransformerSpec": 8, "TransformerBase": 8, "TransformerBig": 16}
NEWEST_REVISION = 7
ACTIVATIONS: Mapping[int, Literal["relu", "swish", "gelu"]] = {0: "relu", 2: "swish", 3: "gelu"}
OTHER_ACTIVATIONS = {1: "GELUTanh", 4: "GELUSigmoid", 5: "Tanh", 6: "Sigmoid"}
# Whole numbers beside the weights: the value that is supported, None for any.
FLAGS: Mapping[str, int | None] = {
    "alibi": 0,
    "alibi_use_positive_positions": None,
    "alignment_heads": None,
    "alignment_layer": None,
    "embeddings_merge": None,
    "multi_query_attention": 0,
    "scale_alibi": None,
}


@dataclass(frozen=True, slots=True)
class CTranslate2Settings:
    """What is said of the network and of its tokens.

    Attributes:
        read: names of the variables that said it
    """

    num_heads: int
    norm: Literal["post", "pre"]
    activation: Literal["relu", "swish", "gelu"]
    scale_embeddings: bool
    zero_start: bool
    norm_epsilon: float
    unk_token: str
    eos_token: str
    decoder_start_token: str
    source_eos: bool
    read: frozenset[str]


def read_settings(variables: Variables, config: Mapping[str, Any]) -> CTranslate2Settings:
    """Check what is said.

    Raises:
        TrainError: it is of another network, or asks for what tfm has not
    """
    heads = SPECIFICATIONS.get(variables.specification)
    if heads is None or variables.revision > NEWEST_REVISION:
        raise TrainError(
            f"it is a {variables.specification} of revision {variables.revision}: supported is "
            f"TransformerSpec up to {NEWEST_REVISION}"
        )
    scalars = _Scalars(variables.arrays)
    if variables.version < 6:
        config = _of_variables(scalars)
    for side in ("encoder", "decoder"):
        for name, needed in FLAGS.items():
            value = scalars.get(f"{side}/{name}", needed or 0)
            if needed is not None and value != needed:
                raise TrainError(f"{side}/{name} is {value:g}: supported is {needed}")
    pre_norm, kind = scalars.same("pre_norm", 1), int(scalars.same("activation", 0))
    scaled = scalars.same("scale_embeddings", 1)
    if kind not in ACTIVATIONS:
        raise TrainError(
            f"activation is {OTHER_ACTIVATIONS.get(kind, kind)}: supported is "
            f"{', '.join(ACTIVATIONS.values())}"
        )
    if scaled not in (0, 1):
        raise TrainError(f"scale_embeddings is {scaled:g}: supported is sqrt(d_model) or none")
    start = config.get("decoder_start_token")
    if not isinstance(start, str):
        raise TrainError(
            f"decoder_start_token is {start!r}: a model is needed that says what it begins with"
        )
    if config.get("add_source_bos"):
        raise TrainError("add_source_bos is true: not supported")
    epsilon = config.get("layer_norm_epsilon")
    zero_start = scalars.get("decoder/start_from_zero_embedding", 0)
    return CTranslate2Settings(
        num_heads=int(scalars.same("num_heads", heads)),
        norm="pre" if pre_norm else "post",
        activation=ACTIVATIONS[kind],
        scale_embeddings=bool(scaled),
        zero_start=bool(zero_start),
        norm_epsilon=1e-5 if epsilon is None else _positive("layer_norm_epsilon", epsilon),
        unk_token=str(config.get("unk_token", "<unk>")),
        eos_token=str(config.get("eos_token", "</s>")),
        decoder_start_token=start,
        source_eos=_source_eos(config, start, bool(zero_start)),
        read=frozenset(scalars.read),
    )


def _source_eos(config: Mapping[str, Any], start: str, zero_start: bool) -> bool:
    """Whether the model was trained on sources that end in EOS.

    Where CTranslate2 does not add it, either there is none (OpenNMT), or the caller is to: models
    that came from transformers, whose tokenizers do. Those begin with EOS, padding or a zero
    vector, and OpenNMT's with BOS.
    """
    if config.get("add_source_eos") is True:
        return True
    if zero_start or start != config.get("bos_token", "<s>"):
        logger.warning(
            "the model leaves EOS to its caller, and as its decoder begins with %s, every source "
            "gets one",
            "a zero vector" if zero_start else start,
        )
        return True
    return False


class _Scalars:
    """Numbers and texts among the variables; remembers which were asked for."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self.read: set[str] = set()

    def get(self, name: str, default: float) -> float:
        array = self._arrays.get(name)
        if array is None:
            return default
        self.read.add(name)
        if array.size != 1:
            raise TrainError(f"{name} is {list(array.shape)}: one number is needed")
        return float(array.flatten()[0])

    def same(self, name: str, default: float) -> float:
        """Of encoder and decoder, or, in early versions, of both together."""
        both = self.get(name, default)
        values = {self.get(f"{side}/{name}", both) for side in ("encoder", "decoder")}
        if len(values) > 1:
            listed = " and ".join(f"{value:g}" for value in sorted(values))
            raise TrainError(f"{name} is {listed} of encoder and decoder: one is needed")
        return values.pop()

    def text(self, name: str, default: str) -> str:
        array = self._arrays.get(name)
        if array is None:
            return default
        self.read.add(name)
        return array.astype(np.int8).tobytes().rstrip(b"\0").decode("utf-8", "replace")


def _of_variables(scalars: _Scalars) -> dict[str, Any]:
    """What config.json would say, of the variables of early versions."""
    config: dict[str, Any] = {
        name: scalars.text(name, default)
        for name, default in (("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>"))
    }
    config["add_source_bos"] = bool(scalars.get("with_source_bos", 0))
    config["add_source_eos"] = bool(scalars.get("with_source_eos", 0))
    starts_with_bos = scalars.get("with_target_bos", 1)
    config["decoder_start_token"] = config["bos_token" if starts_with_bos else "eos_token"]
    if scalars.get("user_decoder_start_tokens", 0):
        config["decoder_start_token"] = None
    return config


def _positive(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not 0 < value < 1:
        raise TrainError(f"{name} is {value!r}: a number above 0 and below 1 is needed")
    return float(value)
