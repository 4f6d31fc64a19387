"""MODEL of the command: a preset with random weights, a checkpoint, or a model folder."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from sentencepiece import sentencepiece_model_pb2
from torch import nn

from tfm.export.errors import ExportError
from tfm.export.formats.read_model_folder import unpack
from tfm.runtime.bundled import find_model
from tfm.runtime.config import ModelConfig as FolderConfig
from tfm.runtime.files.text import read_lines
from tfm.runtime.tokenizer import Tokenizer
from tfm.trainer.checkpoint import (
    MODEL,
    VALIDATION,
    load_checkpoint,
    weights_of,
    write_config,
    write_weights,
)
from tfm.trainer.config import PRESETS, TransformerConfig, VocabularyRecipe
from tfm.trainer.data.vocabulary import Vocabulary, train_vocabulary
from tfm.trainer.errors import TrainError
from tfm.trainer.model import Transformer

from .errors import BenchError
from .workload import Workload, random_workload, real_workload

VOCAB_SIZE = 8000  # of the presets that are not named here
VOCAB_SIZES = {"base": 32000, "big": 32000, "opus-mt": 65001}
# The trainer's presets, and what `tfm import` makes of an OPUS-MT model such as opus-mt-zh-en.
SHAPES: dict[str, dict[str, Any]] = {
    **PRESETS,
    "opus-mt": {
        **PRESETS["base"],
        "activation": "swish",
        "positions": "marian",
        "tied_embeddings": "all",
        "output_bias": True,
    },
}
# The last linear layers of attention and feed-forward, and the one that scales what an SSRU adds.
SUBLAYER_OUTPUTS = (".out_proj", ".outer", ".input_proj")
SENTENCES = Path(__file__).parent / "sentences"  # by language, for models of real languages
FORCED_LENGTH = 30  # tokens decoded with random weights
NATURAL_LENGTH = 256  # most tokens decoded with real ones


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """A model with its vocabulary, and the folder that it is saved in."""

    model: Transformer
    vocabulary: Vocabulary
    folder: Path


@dataclass(frozen=True, slots=True)
class Subject:
    """The model that is measured, and the sentences.

    Attributes:
        name: its name in the report
        checkpoint: what is converted for every system; None where a model folder was given whose
            weights cannot be read back
        no_weights: why not
        model_folder: the model folder that was given, else None
        special_ids: bos_id, eos_id, pad_id, unk_id
        forced: every translation has workload.length tokens, because EOS never comes
    """

    name: str
    checkpoint: LoadedCheckpoint | None
    model_folder: Path | None
    special_ids: dict[str, int]
    workload: Workload
    forced: bool
    no_weights: str = ""


def open_subject(
    model: str,
    *,
    vocab_size: int | None,
    length: int | None,
    sentences: Path | None,
    count: int,
    folder: Path,
) -> Subject:
    """Load a preset, a checkpoint or a model folder.

    Args:
        model: as on the command line
        vocab_size: of a preset
        length: tokens to decode
        sentences: instead of the checkpoint's validation.tsv
        count: how many of them to read
        folder: an existing folder to keep things in

    Raises:
        BenchError: it is none of the three, or an option does not go with it
        TrainError: the checkpoint cannot be read
        ModelError: the model folder cannot be read
    """
    if model in SHAPES:
        if sentences:
            raise BenchError(f"--sentences: {model} has random weights and reads random tokens")
        vocab_size = vocab_size or VOCAB_SIZES.get(model, VOCAB_SIZE)
        return _preset(model, vocab_size, length or FORCED_LENGTH, folder)
    if vocab_size:
        raise BenchError(f"--vocab-size is for presets; {model} has its own vocabulary")
    path = find_folder(model)
    length = length or NATURAL_LENGTH
    if (path / MODEL).exists():
        return _checkpoint(path, sentences or path / VALIDATION, length, count)
    return _model_folder(path, sentences, length, count, folder)


def find_folder(model: str) -> Path:
    """The folder of this path, or of the bundled model of this name.

    Raises:
        BenchError: there is none
    """
    if (path := find_model(model)).is_dir():
        return path
    raise BenchError(
        f"{model}: neither a preset ({', '.join(SHAPES)}) nor a checkpoint, model folder or bundled"
        " model"
    )


def endless_model(config: TransformerConfig) -> Transformer:
    """A model with random weights that never ends a translation.

    EOS never wins because the last normalization's bias points away from EOS's row of the
    projection. Every other row is made orthogonal to that direction, so that only EOS is affected.

    Freshly initialized weights would repeat one token forever, because the projection is tied to
    the embedding of the last token. Random signs in the last normalization and weaker sub-layers
    prevent that: different sentences get different translations.
    """
    torch.manual_seed(0)
    model = Transformer(config).eval()
    last_norm = model.decoder_layers[-1].feed_forward_residual.norm
    rows = model.projection.weight
    with torch.no_grad():
        for layer in model.decoder_layers:
            for name, module in layer.named_modules():
                if isinstance(module, nn.Linear) and name.endswith(SUBLAYER_OUTPUTS):
                    module.weight.mul_(0.3)
        last_norm.weight.copy_(torch.randn_like(last_norm.weight).sign())
        eos = rows[config.eos_id].clone()
        direction = eos / eos.norm()
        rows.sub_((rows @ direction).outer(direction))
        rows[config.eos_id] = eos
        last_norm.bias.add_(direction * (-50 / eos.norm()))
    return model


def weights_digest(model: Transformer) -> str:
    """A hash of all weights."""
    digest = hashlib.sha256()
    for name, tensor in weights_of(model).items():
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


def _of_size(vocabulary: Vocabulary, size: int) -> Vocabulary:
    """The vocabulary with unused tokens up to that size, for ids that a random model writes."""
    sides = []
    for processor in (vocabulary.source, vocabulary.target):
        model = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
        model.ParseFromString(processor.serialized_model_proto())
        for number in range(len(model.pieces), size):
            model.pieces.add(piece=f"<unused {number}>", type=model.SentencePiece.Type.UNUSED)
        sides.append(sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString()))
    return Vocabulary(*sides)


def _preset(preset: str, vocab_size: int, length: int, folder: Path) -> Subject:
    config = TransformerConfig(
        source_vocab_size=vocab_size,
        target_vocab_size=vocab_size,
        dropout=0.0,
        **SHAPES[preset],
    )
    model = endless_model(config)
    words = ["a b c d e f g", "h i j k l m n"] * 50  # nobody reads it; a model folder has one
    vocabulary = _of_size(train_vocabulary(words, words, VocabularyRecipe(size=276)), vocab_size)
    return Subject(
        name=f"{preset} (random weights), V {vocab_size}",
        checkpoint=_saved(model, vocabulary, folder),
        model_folder=None,
        special_ids=_special_ids(config),
        workload=random_workload(vocab_size, config.eos_id, length),
        forced=True,
    )


def _checkpoint(path: Path, sentences: Path, length: int, count: int) -> Subject:
    model, vocabulary = load_checkpoint(path)
    encoded = vocabulary.encode_source(_read(sentences), model.config)
    shortest = len(model.config.source_prefix) + 1  # nothing but a tag and EOS
    return Subject(
        name=f"checkpoint {path.name}",
        checkpoint=LoadedCheckpoint(model, vocabulary, path),
        model_folder=None,
        special_ids=_special_ids(model.config),
        workload=real_workload([ids for ids in encoded if len(ids) > shortest], length, count),
        forced=False,
    )


def _model_folder(
    path: Path, sentences: Path | None, length: int, count: int, folder: Path
) -> Subject:
    config = FolderConfig.load(path)
    if sentences is None:
        sentences = SENTENCES / f"{config.languages.source}.txt"
        if not sentences.exists():
            raise BenchError(f"{path} is a model folder: name sentences with --sentences")
    encoded = Tokenizer(path, config).encode(_read(sentences))
    checkpoint, no_weights = None, ""
    try:
        checkpoint = _saved(*unpack(path), folder)
    except (ExportError, TrainError) as error:
        no_weights = str(error)
    return Subject(
        name=f"model folder {path.name}",
        checkpoint=checkpoint,
        model_folder=path,
        special_ids=_special_ids(config.special_ids),
        workload=real_workload([ids for ids in encoded if ids], length, count),
        forced=False,
        no_weights=no_weights,
    )


def _saved(model: Transformer, vocabulary: Vocabulary, folder: Path) -> LoadedCheckpoint:
    """The model with a checkpoint in this folder, without a vocabulary, for other engines."""
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir(exist_ok=True)
    write_config(checkpoint, model.config)
    write_weights(checkpoint / MODEL, weights_of(model))
    return LoadedCheckpoint(model, vocabulary, checkpoint)


def _special_ids(config: object) -> dict[str, int]:
    return {name: getattr(config, name) for name in ("bos_id", "eos_id", "pad_id", "unk_id")}


def _read(path: Path) -> list[str]:
    """The first column of every line that is not empty."""
    if not path.exists():
        raise BenchError(f"{path}: not found; name sentences with --sentences")
    sentences = [c for line in read_lines(path) if (c := line.split("\t")[0].strip())]
    if not sentences:
        raise BenchError(f"{path}: holds no sentence to translate")
    return sentences
