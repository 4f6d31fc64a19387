"""The settings that Marian stores with its weights, as a TransformerConfig.

Every model holds `special:model.yml`, the options of `marian --help` that make the network. What
cannot be computed here is refused with its name and value; nothing is ignored that would change
a number. How Marian's Transformer differs from the paper's (its source is
src/models/transformer.h of marian-nmt/marian-dev):

* Positions have all sines before all cosines, with the wavelengths of tensor2tensor, which reach
  10000 with the last pair: 10000^(i / (D/2 - 1)). transformers and CTranslate2 compute OPUS-MT
  models with 10000^(i / (D/2)) instead, which is close.
* The decoder begins with a zero vector in the place of an embedding.
* The sub-layers' operations are letters: n layer normalization, a the sum with the sub-layer's
  input, d dropout, which does nothing in translation.
* Layer normalization adds 1e-6 to the variance.
* gelu is computed by erf. (Older versions took x sigmoid(1.702 x), and a model does not say.)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tfm.trainer.errors import TrainError

SETTINGS = "special:model.yml"
NORM_EPSILON = 1e-6

# Operations before and after a sub-layer and after the last layer, without dropout: our `norm`.
NORMS: dict[tuple[str, str, str], Literal["post", "pre"]] = {
    ("", "an", ""): "post",
    ("n", "a", "n"): "pre",
}
ACTIVATIONS = ("relu", "swish", "gelu")

# Settings with the values that this network has; a model without them is older than they are.
NEEDED: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("type", ("transformer",)),
    ("transformer-ffn-activation", ACTIVATIONS),
    ("transformer-ffn-depth", ("2",)),
    ("transformer-decoder-ffn-depth", ("0", "2")),
    ("transformer-no-projection", ("false",)),
    ("transformer-no-bias", ("false",)),
    ("transformer-no-affine", ("false",)),
    ("transformer-pool", ("false",)),
    ("transformer-train-position-embeddings", ("false",)),
    ("transformer-train-positions", ("false",)),
    ("transformer-disable-position-embeddings", ("false",)),
    ("transformer-attention-mask", ("default",)),
    ("layer-normalization", ("false",)),
    ("right-left", ("false",)),
    ("ulr", ("false",)),
    ("lemma-dim-emb", ("0",)),
    ("lemma-dependency", ("",)),
    ("factors-dim-emb", ("0",)),
    ("input-types", ([], ["sequence", "sequence"])),
)


@dataclass(frozen=True, slots=True)
class MarianSettings:
    """What the settings say of the network.

    Attributes:
        decoder_d_ff: d_ff of the decoder, which may be another than the encoder's
        decoder_names: the number in the names of each decoder layer's weights; several layers may
            have one (transformer-tied-layers)
        tied: which matrices are one: "target" and "all" as in TransformerConfig; "embeddings" are
            those of source and target without the output's
    """

    d_model: int
    d_ff: int
    decoder_d_ff: int
    num_heads: int
    encoder_layers: int
    decoder_names: tuple[int, ...]
    norm: Literal["post", "pre"]
    activation: Literal["relu", "swish", "gelu"]
    decoder_autoregression: Literal["attention", "ssru"]
    tied: Literal["none", "target", "embeddings", "all"]
    output_bias: bool

    def inner_width(self, name: str) -> int:
        """d_ff of the stack that a weight of ours belongs to."""
        return self.d_ff if name.startswith("encoder.") else self.decoder_d_ff


def read_settings(tree: Mapping[str, Any]) -> MarianSettings:
    """Check special:model.yml.

    Raises:
        TrainError: a setting is missing, no value of its kind, or of a network that tfm has not
    """
    for key, values in NEEDED:
        value = tree.get(key, values[0])
        if value not in values:
            raise TrainError(f"{key} is {value!r}: supported is {' or '.join(map(repr, values))}")
    encoder_d_ff = _number(tree, "transformer-dim-ffn")
    decoder_layers = _number(tree, "dec-depth")
    return MarianSettings(
        d_model=_number(tree, "dim-emb"),
        d_ff=encoder_d_ff,
        decoder_d_ff=_number(tree, "transformer-decoder-dim-ffn", "0") or encoder_d_ff,
        num_heads=_number(tree, "transformer-heads"),
        encoder_layers=_number(tree, "enc-depth"),
        decoder_names=_decoder_names(tree, decoder_layers),
        norm=_norm(tree),
        activation=tree.get("transformer-ffn-activation", "swish"),
        decoder_autoregression=_autoregression(tree),
        tied=_tied(tree),
        output_bias=not _truth(tree, "output-omit-bias"),
    )


def _autoregression(tree: Mapping[str, Any]) -> Literal["attention", "ssru"]:
    key, cell, projection = "transformer-decoder-autoreg", "dec-cell", "transformer-rnn-projection"
    value = tree.get(key, "self-attention")
    if value == "self-attention":
        return "attention"
    if value != "rnn":
        raise TrainError(f"{key} is {value!r}: supported is 'self-attention' or 'rnn' (SSRU)")
    if tree.get(cell) != "ssru":
        raise TrainError(f"{cell} is {tree.get(cell)!r}: with {key} 'rnn' supported is 'ssru'")
    if _truth(tree, projection):
        raise TrainError(f"{projection} is 'true': supported is 'false'")
    return "ssru"


def _norm(tree: Mapping[str, Any]) -> Literal["post", "pre"]:
    names = ("preprocess", "postprocess", "postprocess-top")
    said = tuple(str(tree.get(f"transformer-{name}", "")) for name in names)
    operations = tuple(value.replace("d", "") for value in said)
    embeddings = str(tree.get("transformer-postprocess-emb", "d"))
    if embeddings.replace("d", ""):
        raise TrainError(f"transformer-postprocess-emb is {embeddings!r}: supported is 'd' or ''")
    if operations not in NORMS:
        listed = ", ".join(f"{name} {value!r}" for name, value in zip(names, said, strict=True))
        raise TrainError(
            f"transformer-{listed}: supported are '', 'dan', '' (post-norm) and 'n', 'da', 'n' "
            "(pre-norm)"
        )
    return NORMS[operations]


def _tied(tree: Mapping[str, Any]) -> Literal["none", "target", "embeddings", "all"]:
    output, source = _truth(tree, "tied-embeddings"), _truth(tree, "tied-embeddings-src")
    if _truth(tree, "tied-embeddings-all") or (output and source):
        return "all"
    return "target" if output else "embeddings" if source else "none"


def _decoder_names(tree: Mapping[str, Any], layers: int) -> tuple[int, ...]:
    key = "transformer-tied-layers"
    tied = tree.get(key) or [str(number + 1) for number in range(min(layers, 1 << 16))]
    if not isinstance(tied, list) or len(tied) != layers:
        raise TrainError(f"{key} is {tied!r}: a number for each of {layers} layers is needed")
    return tuple(_whole(key, value) for value in tied)


def _truth(tree: Mapping[str, Any], key: str) -> bool:
    value = tree.get(key, "false")
    if value not in ("true", "false"):
        raise TrainError(f"{key} is {value!r}: true or false is needed")
    return bool(value == "true")


def _number(tree: Mapping[str, Any], key: str, default: str | None = None) -> int:
    return _whole(key, tree.get(key, default), least=1 if default is None else 0)


def _whole(key: str, value: Any, least: int = 1) -> int:
    digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10
    if not digits or int(value) < least:
        raise TrainError(f"{key} is {value!r}: a whole number of at least {least} is needed")
    return int(value)
