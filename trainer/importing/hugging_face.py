"""`tfm import`: a folder of Marian, M2M100 or NLLB, as transformers saves it, to a checkpoint.

Nothing of transformers is needed. Settings and special ids come from config.json; weights from
model.safetensors or pytorch_model.bin (files.py), under other names than ours
(weights.py); and the tokenizer's files become SentencePiece models with the model's
ids (tokenizers.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tfm.trainer.checkpoint import build_model, outline_of
from tfm.trainer.config import TransformerConfig
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.errors import TrainError
from tfm.trainer.model import Transformer

from .files import TransformersFolder
from .output import new_checkpoint, write_imported
from .tokenizers import Tokens, build_vocabulary, read_m2m100, read_marian
from .weights import from_transformers

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
    read_tokens: Callable[[TransformersFolder], Tokens]


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
    folder, given = new_checkpoint(checkpoint), TransformersFolder(source)
    where = source / "config.json"
    settings = given.read_json("config.json")
    family = FAMILIES.get(str(settings.get("model_type")))
    if family is None:
        raise TrainError(
            f"{source}: model_type is {settings.get('model_type')!r}: tfm imports "
            f"{' and '.join(FAMILIES)} (Marian/OPUS-MT, M2M100, NLLB)"
        )
    tokens = family.read_tokens(given)
    # As transformers: what generation_config.json says of writing goes before config.json.
    own = given.read_optional_json("generation_config.json")
    generation = settings | {key: value for key, value in own.items() if value is not None}
    try:
        values = _values(settings, generation, family)
        _check_ids(values, tokens)
    except TrainError as error:
        raise TrainError(f"{where}: {error}") from error
    try:
        languages = _languages(given, generation, family, tokens, source_language, target_language)
        model, vocabulary = _build(given, values | languages, tokens)
    except TrainError as error:
        named = str(error).startswith(str(source))
        raise error if named else TrainError(f"{source}: {error}") from error
    write_imported(folder, model, vocabulary, given.contents)  # what was read, nothing else
    return model


def _build(
    given: TransformersFolder, values: Mapping[str, Any], tokens: Tokens
) -> tuple[Transformer, Vocabulary]:
    """The model and its vocabulary, with nothing built before its size is that of the weights."""
    common = {**values, "unk_id": tokens.unk_id, "language_ids": tokens.language_ids}
    tensors = given.read_tensors()
    outline = outline_of(TransformerConfig(**common), len(tensors))
    weights = from_transformers(outline, tensors)
    vocabulary, num_extra_pieces = build_vocabulary(
        tokens,
        (values["source_vocab_size"], values["target_vocab_size"]),
        {values["pad_id"], values["eos_id"], values["bos_id"], *tokens.language_ids.values()},
    )
    config = TransformerConfig(**common, num_extra_pieces=num_extra_pieces)
    return build_model(config, weights), vocabulary


def _languages(
    given: TransformersFolder,
    generation: Mapping[str, Any],
    family: Family,
    tokens: Tokens,
    source_language: str | None,
    target_language: str | None,
) -> dict[str, Any]:
    """source_language, target_language and language_token of the configuration."""
    settings = given.read_optional_json("tokenizer_config.json")
    forced = _forced_language(generation, family, tokens)
    said = _first(settings, "target_lang", "tgt_lang")
    if target_language is None and None not in (forced, said) and forced != said:
        raise TrainError(
            f"{given.path}: forced_bos_token_id is that of {forced!r}, and tokenizer_config.json "
            f"says {said!r}: choose one with --target-language"
        )
    languages = {
        "source_language": source_language or _first(settings, "source_lang", "src_lang"),
        "target_language": target_language or said or forced,
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
                f"{given.path}: {problem}; choose one with --{name.replace('_', '-')}: "
                f"{', '.join(sorted(tokens.language_ids))}"
            )
    return {
        "source_language": languages["source_language"] or "source",
        "target_language": languages["target_language"] or "target",
        "language_token": language_token,
    }


def _forced_language(generation: Mapping[str, Any], family: Family, tokens: Tokens) -> str | None:
    """The language that every translation begins with the token of, if a file says so."""
    forced = generation.get("forced_bos_token_id")
    if forced is None:
        return None
    by_id = {number: language for language, number in tokens.language_ids.items()}
    if family.language_token != "both" or not isinstance(forced, int) or forced not in by_id:
        raise TrainError(
            f"forced_bos_token_id is {forced!r}, which is no language to write: not supported"
        )
    return by_id[forced]


def _values(
    settings: Mapping[str, Any], generation: Mapping[str, Any], family: Family
) -> dict[str, Any]:
    """What config.json says, by the names of TransformerConfig; `generation` is the same with what
    generation_config.json says instead."""
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
        values[ours] = _whole_number(generation, theirs, least=0)
        said = settings.get(theirs, values[ours])
        if ours != "bos_id" and said != values[ours]:
            raise TrainError(
                f"{theirs} is {said!r}, and generation_config.json says {values[ours]}"
            )
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

    words = generation.get("bad_words_ids") or []
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
    value = next((tree[key] for key in keys if tree.get(key)), None)
    if value is not None and not isinstance(value, str):
        raise TrainError(f"{' or '.join(keys)} is {value!r}: the name of a language is needed")
    return value
