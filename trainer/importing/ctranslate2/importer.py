"""`tfm import` of a CTranslate2 folder or an .argosmodel: to a checkpoint."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfm.trainer.checkpoint import build_model, outline_of
from tfm.trainer.config import TransformerConfig
from tfm.trainer.errors import TrainError
from tfm.trainer.importing.output import new_checkpoint, write_imported
from tfm.trainer.importing.tokenizers import build_vocabulary
from tfm.trainer.model import Transformer

from .binary import Variables, read_variables
from .files import CONFIG, MODEL, ModelFiles
from .settings import CTranslate2Settings, read_settings
from .vocabulary import CTranslate2Vocabulary, read_vocabulary
from .weights import (
    OUTPUT_BIAS,
    SOURCE,
    SOURCE_FIRST,
    TARGET,
    count_layers,
    from_ctranslate2,
    positions_of,
    table,
    tied_embeddings,
)

DESCRIPTION = "metadata.json"  # of an .argosmodel


def import_ctranslate2(
    source: Path,
    checkpoint: Path,
    vocabularies: Sequence[Path] = (),
    source_language: str | None = None,
    target_language: str | None = None,
) -> Transformer:
    """Write the checkpoint of a model.

    Args:
        source: a folder with a model.bin, or an .argosmodel
        vocabularies: SentencePiece models, where there are none with the model
        source_language: what the model translates from, or by default
        target_language: the same of the other side

    Raises:
        TrainError: a file is missing, damaged, does not fit the others, or is of a network that
            tfm has not; nothing is written
    """
    folder, files = new_checkpoint(checkpoint), ModelFiles(source)
    try:
        variables = read_variables(files.read(MODEL))
        settings = read_settings(variables, _config(files, variables))
    except TrainError as error:
        raise _named(error, source, MODEL) from error
    try:
        vocabulary = read_vocabulary(files, settings, vocabularies)
    except TrainError as error:
        raise _named(error, source, "", *vocabularies) from error
    languages = _languages(files, vocabulary, source_language, target_language)
    try:
        never = _take_infinite_biases(variables)
        values = _values(variables, settings, vocabulary, never) | languages
        outline = outline_of(TransformerConfig(**values), len(variables.arrays))
        weights = from_ctranslate2(outline, variables.arrays, vocabulary.orders, settings.read)
    except TrainError as error:
        raise _named(error, source, MODEL) from error
    spoken, num_extra_pieces = build_vocabulary(
        vocabulary.tokens,
        (values["source_vocab_size"], values["target_vocab_size"]),
        {
            *(values[name] for name in ("pad_id", "eos_id", "bos_id")),
            *vocabulary.tokens.language_ids.values(),
        },
    )
    config = TransformerConfig(**values, num_extra_pieces=num_extra_pieces)
    model = build_model(config, weights)
    write_imported(folder, model, spoken, {})
    return model


def _config(files: ModelFiles, variables: Variables) -> Mapping[str, Any]:
    if not files.has(CONFIG):
        if variables.version >= 6:
            raise TrainError(f"{files.path / CONFIG}: not found")
        return {}
    tree = files.read_json(CONFIG)
    if not isinstance(tree, dict):
        raise TrainError(f"{files.path / CONFIG}: not a JSON object")
    if tree.get("quantization_type"):
        raise TrainError(f"quantization_type is {tree['quantization_type']!r}: not supported")
    return tree


def _take_infinite_biases(variables: Variables) -> set[int]:
    """Tokens of the target that are never written because their bias is -inf, as `tfm convert`
    writes suppress_ids; such biases are then zero, and where all are zero there is none."""
    bias = variables.arrays.get(OUTPUT_BIAS)
    if bias is None or bias.dtype.kind != "f" or bias.ndim != 1:
        return set()
    never = np.flatnonzero(np.isneginf(bias))
    if len(never):
        variables.arrays[OUTPUT_BIAS] = np.where(np.isneginf(bias), np.float32(0), bias)
        if not variables.arrays[OUTPUT_BIAS].any():
            del variables.arrays[OUTPUT_BIAS]
    return set(never.tolist())


def _values(
    variables: Variables,
    settings: CTranslate2Settings,
    vocabulary: CTranslate2Vocabulary,
    never: set[int],
) -> dict[str, Any]:
    """What the files say, by the names of TransformerConfig."""
    arrays = variables.arrays
    _, d_model = table(arrays, SOURCE, SOURCE_FIRST)
    table(arrays, TARGET)
    d_ff, _ = table(arrays, "encoder/layer_0/ffn/linear_0/weight")
    source, target = vocabulary.orders
    tied = tied_embeddings(arrays)
    return {
        "source_vocab_size": len(source),
        "target_vocab_size": len(target),
        "d_model": d_model,
        "d_ff": d_ff,
        "num_heads": settings.num_heads,
        "encoder_layers": count_layers(arrays, "encoder"),
        "decoder_layers": count_layers(arrays, "decoder"),
        "norm": settings.norm,
        "activation": settings.activation,
        "scale_embeddings": settings.scale_embeddings,
        "norm_epsilon": settings.norm_epsilon,
        "tied_embeddings": "target" if tied == "all" and source != target else tied,
        "output_bias": OUTPUT_BIAS in arrays,
        "source_eos": settings.source_eos,
        "suppress_ids": tuple(sorted({*vocabulary.suppress_ids, *never})),
        "pad_id": vocabulary.tokens.pad_id,
        "bos_id": vocabulary.bos_id,
        "eos_id": vocabulary.tokens.eos_id,
        "unk_id": vocabulary.tokens.unk_id,
        "language_ids": vocabulary.tokens.language_ids,
        "language_token": vocabulary.language_token,
        **positions_of(arrays, d_model),
    }


def _languages(
    files: ModelFiles,
    vocabulary: CTranslate2Vocabulary,
    source_language: str | None,
    target_language: str | None,
) -> dict[str, Any]:
    said = files.read_json(DESCRIPTION) if files.has(DESCRIPTION) else {}
    said = said if isinstance(said, dict) else {}
    languages = {
        "source_language": source_language or said.get("from_code"),
        "target_language": target_language or said.get("to_code"),
    }
    known = vocabulary.tokens.language_ids
    needed = {"none": 0, "source": 1, "both": 2}[vocabulary.language_token]
    for name in ("target_language", "source_language")[:needed]:
        if languages[name] not in known:
            raise TrainError(
                f"{files.path}: {name} is {languages[name]!r}; choose one with "
                f"--{name.replace('_', '-')}: {', '.join(sorted(known))}"
            )
    return {
        name: value if isinstance(value, str) and value else name.removesuffix("_language")
        for name, value in languages.items()
    }


def _named(error: TrainError, source: Path, name: str, *others: Path) -> TrainError:
    """The error with the file that it is about, unless it names one already."""
    if str(error).startswith((str(source), *map(str, others))):
        return error
    return TrainError(f"{source / name}: {error}")
