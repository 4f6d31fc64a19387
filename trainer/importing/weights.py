"""The names that transformers gives to the weights of this model, for reading and for writing.

Marian and M2M100 (NLLB is one) are the same network under the same names.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from tfm.trainer.checkpoint import Weights, check_finite, weights_of
from tfm.trainer.errors import TrainError
from tfm.trainer.model import Transformer
from tfm.trainer.positions import sinusoidal_positions

# Ours, theirs; what ends in a dot is the beginning of a name.
WHOLE = {
    "source_embeddings.tokens.weight": "model.encoder.embed_tokens.weight",
    "target_embeddings.tokens.weight": "model.decoder.embed_tokens.weight",
    "projection.weight": "lm_head.weight",
    "projection.bias": "final_logits_bias",
    "encoder_norm.": "model.encoder.layer_norm.",
    "decoder_norm.": "model.decoder.layer_norm.",
}
IN_LAYER = {
    "self_attention.": "self_attn.",
    "self_attention_residual.norm.": "self_attn_layer_norm.",
    "cross_attention.": "encoder_attn.",
    "cross_attention_residual.norm.": "encoder_attn_layer_norm.",
    "feed_forward.inner.": "fc1.",
    "feed_forward.outer.": "fc2.",
    "feed_forward_residual.norm.": "final_layer_norm.",
}
SHARED = "model.shared.weight"
POSITIONS = re.compile(r"model\.(en|de)coder\.embed_positions\.weights?")
KEY_BIAS = re.compile(r".*\.k_proj\.bias")  # adds the same to all scores of a query: no effect

POSITIONS_TOLERANCE = 1e-3


def their_name(name: str) -> str:
    """What transformers calls one of our weights."""
    for ours, theirs in WHOLE.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    side, number, rest = name.split(".", 2)
    ours = next(part for part in IN_LAYER if rest.startswith(part))
    return f"model.{side}.layers.{number}.{IN_LAYER[ours]}{rest.removeprefix(ours)}"


def their_names(model: Transformer) -> dict[str, list[str]]:
    """Every weight of ours, with all names that transformers may have for it: tied ones several."""
    names: dict[str, list[str]] = {}
    holders: dict[int, str] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        holder = holders.setdefault(id(tensor), name)
        names.setdefault(holder, []).append(their_name(name))
    for name in ("source_embeddings.tokens.weight", "target_embeddings.tokens.weight"):
        if name in names and model.config.tied_embeddings != "target":
            names[name].append(SHARED)
    return names


def from_transformers(model: Transformer, theirs: Mapping[str, Tensor]) -> Weights:
    """Their weights under our names, float32.

    Raises:
        TrainError: a weight is missing, unknown, of another shape, not a finite number, or differs
            from one it is tied to; positions are not the configured ones
    """
    expected = weights_of(model)
    weights, used, missing = {}, set(), []
    for name, candidates in their_names(model).items():
        present = [candidate for candidate in candidates if candidate in theirs]
        if not present:
            missing.append(candidates[0])
            continue
        used.update(present)
        tensor = theirs[present[0]]
        check_finite({candidate: theirs[candidate] for candidate in present})
        for other in present[1:]:
            if not torch.equal(tensor, theirs[other]):
                raise TrainError(f"{present[0]} and {other} differ, but config.json ties them")
        if name == "projection.bias":
            tensor = tensor.flatten()  # [1, V]
        if tensor.shape != expected[name].shape:
            raise TrainError(
                f"{present[0]} is {list(tensor.shape)}, config.json says "
                f"{list(expected[name].shape)}"
            )
        weights[name] = tensor.float()
    if missing:
        raise TrainError(f"{some(missing)} missing")
    unknown = sorted(theirs.keys() - used)
    for name in [name for name in unknown if POSITIONS.fullmatch(name)]:
        _check_positions(name, theirs[name], model)
    unknown = [n for n in unknown if not POSITIONS.fullmatch(n) and not KEY_BIAS.fullmatch(n)]
    if unknown:
        raise TrainError(f"{some(unknown)} not of this architecture")
    return weights


def to_transformers(model: Transformer) -> Weights:
    """Our weights under their names, each once."""
    config = model.config
    weights = {}
    for name, tensor in weights_of(model).items():
        theirs = their_name(name)
        if name == "source_embeddings.tokens.weight" and config.tied_embeddings == "all":
            theirs = SHARED
        weights[theirs] = tensor[None] if name == "projection.bias" else tensor
        if theirs.endswith(".q_proj.bias"):  # theirs have one on the keys too: zero
            weights[theirs.replace(".q_proj.", ".k_proj.")] = torch.zeros_like(tensor)
    return weights


def _check_positions(name: str, table: Tensor, model: Transformer) -> None:
    config = model.config
    if table.dim() != 2 or not table.is_floating_point():
        raise TrainError(f"{name} is no table of floating-point numbers")
    length = table.shape[0] - config.first_position
    ours = sinusoidal_positions(torch.arange(float(max(length, 0))), config)
    theirs = table[config.first_position :].float()
    if theirs.shape != ours.shape or not torch.allclose(theirs, ours, atol=POSITIONS_TOLERANCE):
        raise TrainError(f"{name} is no table of {config.positions}'s sinusoidal positions")


def some(names: list[str]) -> str:
    """`a.weight is`, or `12 weights (a.weight, ...) are`."""
    if len(names) == 1:
        return f"{names[0]} is"
    return f"{len(names)} weights ({names[0]}, ...) are"
