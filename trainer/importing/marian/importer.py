"""`tfm import model.npz`: a model in Marian's own files to a checkpoint."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfm.trainer.checkpoint import build_model, outline_of
from tfm.trainer.config import TransformerConfig
from tfm.trainer.errors import TrainError
from tfm.trainer.importing.npz import Arrays, read_npz
from tfm.trainer.importing.output import new_checkpoint, write_imported
from tfm.trainer.importing.tokenizers import Tokens, build_vocabulary
from tfm.trainer.importing.yaml_text import read_yaml_mapping
from tfm.trainer.model import Transformer

from .binary import read_bin
from .decoder_yml import NAME, DecoderFile, read_decoder_yml
from .settings import NORM_EPSILON, SETTINGS, MarianSettings, read_settings
from .vocabulary import read_vocabulary
from .weights import from_marian, vocabulary_sizes

OPTIONS = "decoder.json"  # in origin/: what decoder.yml says of decoding, for export to read
READERS = {".npz": read_npz, ".bin": read_bin}


def import_marian(
    source: Path,
    checkpoint: Path,
    vocabularies: Sequence[Path] = (),
    source_language: str | None = None,
    target_language: str | None = None,
) -> Transformer:
    """Write the checkpoint of a model.

    Args:
        source: a .npz or .bin, a decoder.yml, or a folder with a decoder.yml
        vocabularies: see `vocabulary.read_vocabulary`; empty takes those that decoder.yml names
        source_language: what the model translates from
        target_language: what it translates into, or by default where it has several

    Raises:
        TrainError: a file is missing, damaged, does not fit the others, or is of a network that
            tfm has not; nothing is written
    """
    folder = new_checkpoint(checkpoint)
    described = _described(source)
    path = source if described is None else described.model
    paths = list(vocabularies or (described.vocabularies if described else ()))
    if not paths:
        raise TrainError(
            f"{source}: which vocabularies belong to it? --vocab source.spm --vocab target.spm"
        )
    arrays = _read_arrays(path)
    try:
        settings = read_settings(_settings_of(arrays, path))
        sizes = vocabulary_sizes(arrays)
    except TrainError as error:
        raise (
            error if str(error).startswith(str(path)) else TrainError(f"{path}: {error}")
        ) from error
    read = read_vocabulary(paths, sizes)
    values = {
        **_values(settings, sizes, read.suppress_ids),
        **_special_ids(read.tokens, max(sizes)),
        **_languages(path, read.tokens, source_language, target_language),
    }
    outline = outline_of(TransformerConfig(**values), len(arrays))
    try:
        weights = from_marian(outline, arrays, settings)
    except TrainError as error:
        raise TrainError(f"{path}: {error}") from error
    vocabulary, num_extra_pieces = build_vocabulary(
        read.tokens,
        (values["source_vocab_size"], values["target_vocab_size"]),
        {values["pad_id"], values["eos_id"], *read.tokens.language_ids.values()},
    )
    config = TransformerConfig(**values, num_extra_pieces=num_extra_pieces)
    model = build_model(config, weights)
    kept = {} if described is None else {OPTIONS: json.dumps(described.options).encode()}
    write_imported(folder, model, vocabulary, kept)
    return model


def _described(source: Path) -> DecoderFile | None:
    """What a decoder.yml says, if the source is one or a folder with one."""
    if source.is_dir():
        return read_decoder_yml(source / NAME)
    return read_decoder_yml(source) if source.suffix in (".yml", ".yaml") else None


def _read_arrays(path: Path) -> Arrays:
    reader = READERS.get(path.suffix)
    if reader is None:
        raise TrainError(f"{path}: a model of Marian ends in {' or '.join(READERS)}")
    return reader(path)


def _settings_of(arrays: Arrays, path: Path) -> dict[str, Any]:
    stored = arrays.get(SETTINGS)
    if stored is None:
        raise TrainError(f"{path}: no {SETTINGS}, the settings that Marian stores with its weights")
    return read_yaml_mapping(stored.tobytes().rstrip(b"\0"), f"{path}: {SETTINGS}")


def _values(
    settings: MarianSettings, sizes: tuple[int, int], suppress_ids: tuple[int, ...]
) -> dict[str, Any]:
    """What the settings say, by the names of TransformerConfig."""
    size = max(sizes) + 1  # and padding
    tied = "none" if settings.tied == "embeddings" else settings.tied
    return {
        "source_vocab_size": size,
        "target_vocab_size": size,
        "d_model": settings.d_model,
        "d_ff": max(settings.d_ff, settings.decoder_d_ff),
        "num_heads": settings.num_heads,
        "encoder_layers": settings.encoder_layers,
        "decoder_layers": len(settings.decoder_names),
        "norm": settings.norm,
        "activation": settings.activation,
        "decoder_autoregression": settings.decoder_autoregression,
        "tied_embeddings": tied,
        "output_bias": settings.output_bias,
        "positions": "fairseq",
        "first_position": 0,
        "norm_epsilon": NORM_EPSILON,
        "scale_embeddings": True,
        "suppress_ids": suppress_ids,
    }


def _special_ids(tokens: Tokens, padding: int) -> dict[str, Any]:
    return {
        "pad_id": padding,
        "bos_id": padding,
        "eos_id": tokens.eos_id,
        "unk_id": tokens.unk_id,
    }


def _languages(
    path: Path, tokens: Tokens, source_language: str | None, target_language: str | None
) -> dict[str, Any]:
    known = tokens.language_ids
    if known and target_language not in known:
        problem = (
            "nothing says which language is the default target_language"
            if target_language is None
            else f"target_language {target_language!r} is none of its languages"
        )
        raise TrainError(
            f"{path}: {problem}; choose one with --target-language: {', '.join(sorted(known))}"
        )
    return {
        "source_language": source_language or "source",
        "target_language": target_language or "target",
        "language_ids": known,
        "language_token": "source" if known else "none",
    }
