"""`tfm import`: a folder of Marian, M2M100 or NLLB, as transformers saves it, to a checkpoint.

Nothing of transformers is needed. Settings and special ids come from config.json; weights from
model.safetensors or pytorch_model.bin (files.py), under other names than ours
(weights.py); and the tokenizer's files become SentencePiece models with the model's
ids (tokenizers.py).
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tfm.trainer.checkpoint import CheckpointFolder, load_weights
from tfm.trainer.config import TransformerConfig
from tfm.trainer.errors import TrainError
from tfm.trainer.model import Transformer

from .files import read_json, read_optional_json, read_tensors
from .tokenizers import Tokens, build_vocabulary, read_m2m100, read_marian
from .weights import from_transformers

KEPT = (
    *("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("source.spm", "target.spm", "vocab.json", "target_vocab.json", "sentencepiece.bpe.model"),
    *("added_tokens.json", "tokenizer.json"),
)

# Ours, theirs for the encoder or both, and theirs for the decoder.
DIMENSIONS = (
    ("d_model", "d_model", "d_model"),
    ("d_ff", "encoder_ffn_dim", "decoder_ffn_dim"),
    ("num_heads", "encoder_attention_heads", "decoder_attention_heads"),
    ("encoder_layers", "encoder_layers", "encoder_layers"),
    ("decoder_layers", "decoder_layers", "decoder_layers"),
    ("source_vocab_size", "vocab_size", "vocab_size"),
)
SPECIAL_IDS = (
    ("pad_id", "pad_token_id"),
    ("eos_id", "eos_token_id"),
    ("bos_id", "decoder_start_token_id"),
)
ACTIVATIONS = {"relu": "relu", "swish": "swish", "silu": "swish", "gelu": "gelu"}


@dataclass(frozen=True, slots=True)
class Family:
    """What config.json does not say of an architecture, or what transformers takes where it says
    nothing (activation, scale_embeddings)."""

    norm: Literal["post", "pre"]
    positions: Literal["marian", "fairseq"]
    output_bias: bool
    language_token: Literal["source", "both"]  # where there are any
    activation: str
    scale_embeddings: bool
    read_tokens: Callable[[Path], Tokens]


FAMILIES = {
    "marian": Family(
        norm="post",
        positions="marian",
        output_bias=True,
        language_token="source",
        activation="gelu",
        scale_embeddings=False,
        read_tokens=read_marian,
    ),
    "m2m_100": Family(
        norm="pre",
        positions="fairseq",
        output_bias=False,
        language_token="both",
        activation="relu",
        scale_embeddings=True,
        read_tokens=read_m2m100,
    ),
}


def import_folder(
    source: Path, checkpoint: Path, source_language: str | None, target_language: str | None
) -> Transformer:
    """Write the checkpoint of a folder.

    Args:
        source_language: what the model translates from, or by default; None is what the
            tokenizer's configuration says
        target_language: the same of the other side

    Raises:
        TrainError: the folder is not one of these, or something in it does not fit; nothing is
            written
    """
    folder = CheckpointFolder(checkpoint)
    if folder.config.exists():
        raise TrainError(f"{checkpoint} already holds a checkpoint: choose another folder")
    where = source / "config.json"
    settings = read_json(where)
    family = FAMILIES.get(str(settings.get("model_type")))
    if family is None:
        raise TrainError(
            f"{source}: model_type is {settings.get('model_type')!r}: tfm imports "
            f"{' and '.join(FAMILIES)} (Marian/OPUS-MT, M2M100, NLLB)"
        )
    tokens = family.read_tokens(source)
    languages = _languages(source, family, tokens, source_language, target_language)
    try:
        values = _values(settings, read_optional_json(source / "generation_config.json"), family)
        _check_ids(values, tokens)
    except TrainError as error:
        raise TrainError(f"{where}: {error}") from error
    try:
        vocabulary, num_extra_pieces = build_vocabulary(
            tokens,
            (values["source_vocab_size"], values["target_vocab_size"]),
            {values["pad_id"], values["eos_id"], values["bos_id"], *tokens.language_ids.values()},
        )
        config = TransformerConfig(
            **values,
            **languages,
            unk_id=tokens.unk_id,
            language_ids=tokens.language_ids,
            num_extra_pieces=num_extra_pieces,
        )
        model = Transformer(config)
        load_weights(model, from_transformers(model, read_tensors(source)))
    except TrainError as error:
        named = str(error).startswith(str(source))
        raise error if named else TrainError(f"{source}: {error}") from error
    try:
        folder.origin.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainError(f"{checkpoint} cannot be made: {error.strerror}") from error
    for name in KEPT:
        if (source / name).exists():
            shutil.copyfile(source / name, folder.origin / name)
    folder.write(model, vocabulary)
    return model


def _languages(
    source: Path,
    family: Family,
    tokens: Tokens,
    source_language: str | None,
    target_language: str | None,
) -> dict[str, Any]:
    """source_language, target_language and language_token of the configuration."""
    settings = read_optional_json(source / "tokenizer_config.json")
    languages = {
        "source_language": source_language or _first(settings, "source_lang", "src_lang"),
        "target_language": target_language or _first(settings, "target_lang", "tgt_lang"),
    }
    language_token = family.language_token if tokens.language_ids else "none"
    for name, language in languages.items():
        needed = language_token == "both" or (
            language_token == "source" and name == "target_language"
        )
        if needed and language not in tokens.language_ids:
            problem = (
                f"nothing says which language is the default {name}"
                if language is None
                else f"{name} {language!r} is none of its languages"
            )
            raise TrainError(
                f"{source}: {problem}; choose one with --{name.replace('_', '-')}: "
                f"{', '.join(sorted(tokens.language_ids))}"
            )
    return {
        "source_language": languages["source_language"] or "source",
        "target_language": languages["target_language"] or "target",
        "language_token": language_token,
    }


def _values(
    settings: Mapping[str, Any], generation: Mapping[str, Any], family: Family
) -> dict[str, Any]:
    """What config.json says, by the names of TransformerConfig."""
    values: dict[str, Any] = {
        "norm": family.norm,
        "positions": family.positions,
        "output_bias": family.output_bias,
    }
    for ours, theirs, of_decoder in DIMENSIONS:
        values[ours] = _whole_number(settings, theirs, least=1)
        other = _whole_number(settings, of_decoder, least=1)
        if values[ours] != other:
            raise TrainError(
                f"{theirs} {values[ours]} and {of_decoder} {other} differ: both stacks of this "
                "model have one"
            )
    for ours, theirs in SPECIAL_IDS:
        values[ours] = _whole_number(settings, theirs, least=0)
    values["first_position"] = values["pad_id"] + 1 if family.positions == "fairseq" else 0

    activation = settings.get("activation_function", family.activation)
    if activation not in ACTIVATIONS:
        raise TrainError(
            f"activation_function is {activation!r}: known are {', '.join(ACTIVATIONS)}"
        )
    values["activation"] = ACTIVATIONS[activation]
    values["scale_embeddings"] = settings.get("scale_embedding", family.scale_embeddings) is True
    dropout = settings.get("dropout", 0.1)
    if type(dropout) not in (int, float) or not 0 <= dropout < 1:
        raise TrainError(f"dropout is {dropout!r}: a number from 0 to below 1 is needed")
    values["dropout"] = float(dropout)

    size = settings.get("decoder_vocab_size") or values["source_vocab_size"]
    values["target_vocab_size"] = size
    shared = settings.get("share_encoder_decoder_embeddings", True)
    tied = settings.get("tie_word_embeddings", True)
    if tied and shared and size != values["source_vocab_size"]:
        raise TrainError(
            f"vocab_size {values['source_vocab_size']} and decoder_vocab_size {size} differ, and "
            "yet both sides share their embeddings"
        )
    values["tied_embeddings"] = "none" if not tied else "all" if shared else "target"

    # As transformers: what generation_config.json says of writing goes before config.json.
    words = generation.get("bad_words_ids") or settings.get("bad_words_ids") or []
    if not isinstance(words, list) or not all(isinstance(word, list) for word in words):
        raise TrainError(f"bad_words_ids is {words!r}: a list of lists of ids is needed")
    if any(len(word) != 1 for word in words):
        raise TrainError("bad_words_ids has words of several tokens: not supported")
    values["suppress_ids"] = tuple(word[0] for word in words)
    return values


def _check_ids(values: Mapping[str, Any], tokens: Tokens) -> None:
    """Every id is a token, and config.json and the tokenizer mean the same by them."""
    size = min(values["source_vocab_size"], values["target_vocab_size"])
    for name in ("pad_id", "eos_id"):
        said = {"pad_id": tokens.pad_id, "eos_id": tokens.eos_id}[name]
        if values[name] != said:
            theirs = dict(SPECIAL_IDS)[name]
            raise TrainError(f"{theirs} is {values[name]}, and the tokenizer says {said}")
    for name, number in (
        ("decoder_start_token_id", values["bos_id"]),
        *(("bad_words_ids", number) for number in values["suppress_ids"]),
    ):
        if type(number) is not int or not 0 <= number < size:
            raise TrainError(f"{name} has {number!r}, which is none of {size} tokens")


def _whole_number(settings: Mapping[str, Any], key: str, least: int) -> int:
    value = settings.get(key)
    if type(value) is not int or value < least:
        raise TrainError(f"{key} is {value!r}: a whole number of at least {least} is needed")
    return value


def _first(tree: Mapping[str, Any], *keys: str) -> str | None:
    return next((tree[key] for key in keys if tree.get(key)), None)
