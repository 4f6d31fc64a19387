"""`tfm import`: a folder of Marian, M2M100 or NLLB, as transformers saves it, to a checkpoint.

Nothing of transformers is needed. Settings and special ids come from config.json, weights from
model.safetensors or pytorch_model.bin (tensors only: a pickle that holds more is refused), and the
tokenizer's files become SentencePiece models whose ids are the model's (pieces.py).
"""

import json
import pickle
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sentencepiece
import torch
from torch import Tensor

from . import checkpoint as files
from .config import ModelConfig
from .errors import TrainError
from .model import Transformer
from .pieces import fill, parse, renumber
from .transformers_weights import from_transformers
from .vocabulary import Vocabulary

KEPT = (
    *("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("source.spm", "target.spm", "vocab.json", "target_vocab.json", "sentencepiece.bpe.model"),
    *("added_tokens.json", "tokenizer.json"),
)
WEIGHTS = ("model.safetensors", "pytorch_model.bin")

# Ours, theirs for the encoder or both, theirs for the decoder, and what transformers takes where
# the key is absent (None: it has to be there).
SETTINGS: tuple[tuple[str, str, str, Any], ...] = (
    ("d_model", "d_model", "d_model", None),
    ("d_ff", "encoder_ffn_dim", "decoder_ffn_dim", None),
    ("num_heads", "encoder_attention_heads", "decoder_attention_heads", None),
    ("encoder_layers", "encoder_layers", "encoder_layers", None),
    ("decoder_layers", "decoder_layers", "decoder_layers", None),
    ("source_vocab_size", "vocab_size", "vocab_size", None),
    ("pad_id", "pad_token_id", "pad_token_id", None),
    ("eos_id", "eos_token_id", "eos_token_id", None),
    ("bos_id", "decoder_start_token_id", "decoder_start_token_id", None),
    ("dropout", "dropout", "dropout", 0.1),
    ("scale_embeddings", "scale_embedding", "scale_embedding", False),
)
ACTIVATIONS = {"relu": "relu", "swish": "swish", "silu": "swish", "gelu": "gelu"}

# The codes of M2M100 (Fan et al. 2020) in the order of their ids, which its files do not list.
M2M100_LANGUAGES = """
af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi
hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns
oc or pa pl ps pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo
zh zu
"""


@dataclass(frozen=True, slots=True)
class Family:
    """What config.json does not say of an architecture."""

    name: str
    norm: Literal["post", "pre"]
    positions: Literal["marian", "fairseq"]
    output_bias: bool
    tagged: Literal["source", "both"]  # where it has tags at all


FAMILIES = {
    "marian": Family("Marian", "post", "marian", output_bias=True, tagged="source"),
    "m2m_100": Family("M2M100", "pre", "fairseq", output_bias=False, tagged="both"),
}


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the tokenizer's files say, before the model's size is known.

    `source` and `target` are (SentencePiece model, text of every token by id); they are one where
    the vocabulary is joint. `tags` are ids by language.
    """

    source: tuple[bytes, dict[int, str]]
    target: tuple[bytes, dict[int, str]]
    unk_id: int
    tags: dict[str, int]


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
    if (checkpoint / files.CONFIG).exists():
        raise TrainError(f"{checkpoint} already holds a checkpoint: choose another folder")
    settings = read_json(source / "config.json")
    family = FAMILIES.get(str(settings.get("model_type")))
    if family is None:
        raise TrainError(
            f"{source}: model_type is {settings.get('model_type')!r}: tfm imports "
            f"{' and '.join(FAMILIES)} (Marian/OPUS-MT, M2M100, NLLB)"
        )
    settings = {**_optional_json(source / "generation_config.json"), **settings}
    tokenizer = _optional_json(source / "tokenizer_config.json")
    tokens = _marian_tokens(source) if family.name == "Marian" else _m2m100_tokens(source)
    config, vocabulary = _fit(
        source, settings, tokenizer, family, tokens, source_language, target_language
    )
    model = Transformer(config)
    try:
        files.load_weights(model, from_transformers(model, read_tensors(source)))
    except TrainError as error:
        raise TrainError(f"{source}: {error}") from error
    try:
        (checkpoint / files.ORIGIN).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainError(f"{checkpoint} cannot be made: {error.strerror}") from error
    for name in KEPT:
        if (source / name).exists():
            shutil.copyfile(source / name, checkpoint / files.ORIGIN / name)
    vocabulary.save(checkpoint)
    files.write_weights(checkpoint / files.MODEL, files.weights_of(model))
    files.write_config(checkpoint, config)  # last: without it, nothing takes it for a checkpoint
    return model


def _fit(
    source: Path,
    settings: Mapping[str, Any],
    tokenizer: Mapping[str, Any],
    family: Family,
    tokens: Tokens,
    source_language: str | None,
    target_language: str | None,
) -> tuple[ModelConfig, Vocabulary]:
    """The configuration and the vocabulary that belong together."""
    where = source / "config.json"
    values = _settings(where, settings)
    activation = settings.get("activation_function", "gelu")
    if activation not in ACTIVATIONS:
        raise TrainError(
            f"{where}: activation_function is {activation!r}: known are {', '.join(ACTIVATIONS)}"
        )
    target_size = settings.get("decoder_vocab_size") or values["source_vocab_size"]
    shared = settings.get("share_encoder_decoder_embeddings", True)
    tied = settings.get("tie_word_embeddings", True)
    if tied and shared and target_size != values["source_vocab_size"]:
        raise TrainError(
            f"{where}: vocab_size {values['source_vocab_size']} and decoder_vocab_size "
            f"{target_size} differ, and yet both sides share their embeddings"
        )
    languages = {
        "source_language": source_language or _first(tokenizer, "source_lang", "src_lang"),
        "target_language": target_language or _first(tokenizer, "target_lang", "tgt_lang"),
    }
    tagged = family.tagged if tokens.tags else "none"
    for name, language in languages.items():
        needed = tagged == "both" or (tagged == "source" and name == "target_language")
        if needed and language not in tokens.tags:
            said = "nothing says" if language is None else f"{language!r} is none of its languages:"
            raise TrainError(
                f"{source}: {said} the default {name}; choose one with "
                f"--{name.replace('_', '-')}: {', '.join(sorted(tokens.tags))}"
            )
    sizes = (values["source_vocab_size"], target_size)
    special = {tokens.unk_id, values["pad_id"], values["eos_id"], values["bos_id"]}
    controls = (special | set(tokens.tags.values())) - {tokens.unk_id}
    try:
        spm = [
            renumber(spm, said, size, unk_id=tokens.unk_id, control_ids=controls)
            for (spm, said), size in zip((tokens.source, tokens.target), sizes, strict=True)
        ]
    except TrainError as error:
        raise TrainError(f"{source}: {error}") from error
    counts = [len(parse(model).pieces) for model in spm]
    unknown = max(count - size for count, size in zip(counts, sizes, strict=True))
    processors = [
        sentencepiece.SentencePieceProcessor(model_proto=fill(model, size + unknown))
        for model, size in zip(spm, sizes, strict=True)
    ]
    joint = tokens.source is tokens.target
    config = ModelConfig(
        **values,
        target_vocab_size=target_size,
        norm=family.norm,
        tied_embeddings="none" if not tied else "all" if shared else "target",
        unk_id=tokens.unk_id,
        activation=ACTIVATIONS[activation],  # type: ignore[arg-type]
        positions=family.positions,
        first_position=values["pad_id"] + 1 if family.positions == "fairseq" else 0,
        output_bias=family.output_bias,
        forbidden_ids=_forbidden(where, settings),
        tagged=tagged,
        language_tags=tokens.tags,
        unknown_pieces=unknown,
        source_language=languages["source_language"] or "source",
        target_language=languages["target_language"] or "target",
    )
    return config, Vocabulary(processors[0], processors[0] if joint else processors[1])


def _settings(where: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    values = {}
    for ours, theirs, of_decoder, default in SETTINGS:
        value, other = settings.get(theirs, default), settings.get(of_decoder, default)
        wanted = (int, float) if ours == "dropout" else bool if type(default) is bool else int
        if not isinstance(value, wanted):
            raise TrainError(f"{where}: {theirs} is {value!r}: a number or true/false is needed")
        if value != other:
            raise TrainError(
                f"{where}: {theirs} {value} and {of_decoder} {other} differ: both stacks of this "
                "model have one"
            )
        values[ours] = float(value) if ours == "dropout" else value
    return values


def _forbidden(where: Path, settings: Mapping[str, Any]) -> tuple[int, ...]:
    words = settings.get("bad_words_ids") or []
    if any(len(word) != 1 for word in words):
        raise TrainError(f"{where}: bad_words_ids has words of several tokens: not supported")
    return tuple(word[0] for word in words)


def _marian_tokens(source: Path) -> Tokens:
    numbers = read_json(source / "vocab.json")
    other = source / "target_vocab.json"
    target_numbers = read_json(other) if other.exists() else numbers
    for name in ("<unk>", "</s>", "<pad>"):
        if name not in numbers or numbers[name] != target_numbers.get(name):
            raise TrainError(f"{source}: {name} has no number that both vocabularies share")
    tags = {
        match[1]: number
        for name, number in numbers.items()
        if (match := re.fullmatch(r">>(.+)<<", name))
    }
    return Tokens(
        (_read_bytes(source / "source.spm"), _by_number(numbers)),
        (_read_bytes(source / "target.spm"), _by_number(target_numbers)),
        numbers["<unk>"],
        tags,
    )


def _m2m100_tokens(source: Path) -> Tokens:
    """M2M100 has its numbers in vocab.json, and after them the languages; NLLB those of
    SentencePiece after four of its own, and lists the languages with theirs."""
    spm = _read_bytes(source / "sentencepiece.bpe.model")
    if (source / "vocab.json").exists():
        tokens = _by_number(read_json(source / "vocab.json"))
        names = [f"__{code}__" for code in M2M100_LANGUAGES.split()]
        tags = {name: number for number, name in enumerate(names, start=len(tokens))}
    else:
        try:
            pieces = [piece.piece for piece in parse(spm).pieces]
        except TrainError as error:
            raise TrainError(f"{source / 'sentencepiece.bpe.model'}: {error}") from error
        tokens = dict(enumerate(["<s>", "<pad>", "</s>", "<unk>", *pieces[3:]]))
        tags = _nllb_tags(source, after=len(tokens))
    unk_id = next((number for number, text in tokens.items() if text == "<unk>"), None)
    if unk_id is None:
        raise TrainError(f"{source / 'vocab.json'}: has no <unk>")
    tokens |= {number: name for name, number in tags.items()}
    joint = (spm, tokens)
    by_language = {name.strip("_"): number for name, number in tags.items()}
    return Tokens(joint, joint, unk_id, by_language)


def _nllb_tags(source: Path, after: int) -> dict[str, int]:
    """Ids by codes such as eng_Latn, from whichever file says them; `after` is where they begin
    if it gives no more than their order."""
    settings = _optional_json(source / "tokenizer_config.json")
    added = settings.get("added_tokens_decoder") or {}
    numbered = {entry["content"]: int(number) for number, entry in added.items()}
    if not numbered:
        fast = _optional_json(source / "tokenizer.json").get("added_tokens") or []
        numbered = {entry["content"]: entry["id"] for entry in fast}
    if not numbered:
        numbered = _optional_json(source / "added_tokens.json")
    if not numbered:
        other = _optional_json(source / "special_tokens_map.json")
        listed = (settings | other).get("additional_special_tokens") or []
        codes = [entry["content"] if isinstance(entry, dict) else entry for entry in listed]
        numbered = {code: number for number, code in enumerate(codes, start=after)}
    tags = {
        code: n for code, n in numbered.items() if re.fullmatch(r"[a-z]{3}_[A-Z][a-z]{3}", code)
    }
    if not tags:
        raise TrainError(
            f"{source}: there is no vocab.json of M2M100, and no tokenizer_config.json, "
            "tokenizer.json, added_tokens.json or special_tokens_map.json lists NLLB's languages"
        )
    return tags


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, from one file or from the parts that an index names.

    Raises:
        TrainError: no file, a damaged one, or one that is more than tensors
    """
    for name in WEIGHTS:
        if (folder / name).exists():
            return _read_part(folder / name)
        index = folder / f"{name}.index.json"
        if index.exists():
            tensors: dict[str, Tensor] = {}
            for part in sorted(set(read_json(index).get("weight_map", {}).values())):
                tensors |= _read_part(folder / Path(part).name)
            return tensors
    raise TrainError(f"{folder}: no weights: neither {' nor '.join(WEIGHTS)}")


def _read_part(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return files.read_weights(path)
    try:
        with warnings.catch_warnings():  # of what is about to be an error anyway
            warnings.simplefilter("ignore")
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TrainError(f"{path}: not found, though the index names it") from error
    except pickle.UnpicklingError as error:
        raise TrainError(
            f"{path}: not a file of tensors alone, so it is not read: a pickle can run any code"
        ) from error
    except (OSError, RuntimeError, EOFError) as error:
        raise TrainError(f"{path}: damaged: {str(error).splitlines()[0]}") from error
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise TrainError(f"{path}: not a dictionary of tensors")
    return dict(tensors)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        TrainError: missing, or none
    """
    try:
        tree = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise TrainError(
            f"{path}: not found; is this a model's folder as transformers saves it?"
        ) from error
    except (OSError, ValueError) as error:
        raise TrainError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(tree, dict):
        raise TrainError(f"{path}: not a JSON object")
    return tree


def _optional_json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrainError(f"{path}: cannot be read: {error.strerror}") from error


def _by_number(numbers: Mapping[str, int]) -> dict[int, str]:
    return {number: text for text, number in numbers.items()}


def _first(tree: Mapping[str, Any], *keys: str) -> str | None:
    return next((tree[key] for key in keys if tree.get(key)), None)
