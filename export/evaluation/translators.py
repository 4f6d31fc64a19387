"""What can be scored: model folders, through the runtime, and checkpoints, through PyTorch."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from tfm.export.decoding_defaults import decoding_defaults
from tfm.export.errors import ExportError
from tfm.export.model_folder import MAX_SOURCE_LENGTH
from tfm.export.quantization.variants import FOR_CUDA, open_to_check
from tfm.export.torch_reference import search_batches
from tfm.runtime import Translator
from tfm.runtime.bundled import bundled_model
from tfm.runtime.config import CONFIG_FILE, ModelConfig
from tfm.runtime.cpu import choose_threads
from tfm.runtime.device import CUDA_PROVIDER, load_onnxruntime
from tfm.runtime.files.folder_kind import FolderKind, wrong_kind
from tfm.runtime.options import DecodingOptions
from tfm.runtime.token_texts import TokenTexts
from tfm.trainer import checkpoint as files
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer

logger = logging.getLogger(__name__)

WEIGHTS = {"model": files.MODEL, "best": files.BEST, "average": files.AVERAGE}


@dataclass(frozen=True, slots=True)
class EvaluatedSystem:
    """Something that translates.

    Attributes:
        name: the variant; of a checkpoint "torch", and which weights unless they are the usual
        language: what it writes
        vocab_size: tokens that it can write
        options: its own decoding options
        translate: sentences and decoding options to translations
    """

    name: str
    language: str
    vocab_size: int
    options: DecodingOptions
    translate: Callable[[Sequence[str], DecodingOptions], list[str]]


def open_systems(
    folder: Path | None,
    variants: Sequence[str | None] = (),
    weights: str | None = None,
    threads: int = 0,
) -> Iterator[EvaluatedSystem]:
    """What is to be scored of a model folder or of a checkpoint, opened one after the other.

    Args:
        folder: None is the bundled model
        variants: of a model folder, where None is the one that would run here; empty: all
        weights: of a checkpoint, a key of WEIGHTS; None is "model"
        threads: for each operator; 0 is one for each core

    Raises:
        TrainError: the checkpoint cannot be read
        ModelError: the model folder cannot be used
        ExportError: folder is neither, or has not all of the variants or the weights; before
            anything is opened
    """
    folder = bundled_model() if folder is None else folder
    if problem := wrong_kind(folder, FolderKind.MODEL_FOLDER, FolderKind.CHECKPOINT):
        raise ExportError(problem)
    if any((folder / name).is_file() for name in (files.MODEL, files.LAST)):
        if any(variants):
            raise ExportError(
                f"{folder} is a checkpoint and has no variants: export it, or choose its weights"
            )
        yield _open_checkpoint(folder, weights or "model", threads)
        return
    if not (folder / CONFIG_FILE).is_file():
        raise ExportError(
            f"{folder} has no {CONFIG_FILE}: expected a model folder (`tfm export`) or a "
            "checkpoint (`tfm train`, `tfm import`)"
        )
    if weights:
        raise ExportError(f"{folder} is a model folder: only a checkpoint has {weights} weights")
    available = ModelConfig.load(folder).variants
    for variant in variants:  # before the first is opened, and an hour of translating with it
        if variant is not None and variant not in available:
            raise ExportError(
                f"no variant {variant!r}: {folder} has {', '.join(sorted(available))}"
            )
    for variant in variants or available:
        yield _open_variant(folder, variant, threads)


def _open_variant(folder: Path, variant: str | None, threads: int) -> EvaluatedSystem:
    providers = load_onnxruntime().get_available_providers()
    there = ModelConfig.load(folder).variants
    if variant in FOR_CUDA & there.keys() and CUDA_PROVIDER not in providers:
        translator = open_to_check(folder, variant, threads)
    else:
        translator = Translator(folder, variant=variant, intra_threads=threads)

    def translate(sentences: Sequence[str], options: DecodingOptions) -> list[str]:
        translations = translator.translate_batch(sentences, options, with_scores=False)
        return [translation.text for translation in translations]

    return EvaluatedSystem(
        translator.choice.variant,
        translator.config.languages.target,
        translator.config.architecture.target_vocab_size,
        translator.options,
        translate,
    )


def _open_checkpoint(folder: Path, weights: str, threads: int) -> EvaluatedSystem:
    model, vocabulary = files.load_checkpoint(folder)
    if weights != "model":
        path = folder / WEIGHTS[weights]
        if not path.exists():
            there = [name for name, file in WEIGHTS.items() if (folder / file).exists()]
            raise ExportError(f"{folder} has no {path.name}: its weights are {', '.join(there)}")
        files.load_weights(model, files.read_weights(path))

    def translate(sentences: Sequence[str], options: DecodingOptions) -> list[str]:
        before = torch.get_num_threads()
        torch.set_num_threads(choose_threads(threads) if threads else before)
        try:
            return translate_with_torch(model, vocabulary, sentences, options)
        finally:
            torch.set_num_threads(before)

    name = "torch" if weights == "model" else f"torch {weights}"
    config = model.config
    return EvaluatedSystem(
        name,
        config.target_language,
        config.target_vocab_size,
        decoding_defaults(folder, config.target_vocab_size),
        translate,
    )


def translate_with_torch(
    model: Transformer,
    vocabulary: Vocabulary,
    sentences: Sequence[str],
    options: DecodingOptions,
) -> list[str]:
    """What the model's export translates, from PyTorch itself; a bar on a terminal's stderr."""
    prefix = len(model.config.source_prefix)
    longest = prefix + MAX_SOURCE_LENGTH
    encoded = vocabulary.encode_source(sentences, model.config)
    end = [model.config.eos_id] if model.config.source_eos else []
    # Nothing but EOS: "".
    indices = [i for i, ids in enumerate(encoded) if ids[prefix:] != [model.config.eos_id]]
    # As runtime/tokenizer.py cuts them.
    sources = [[*encoded[i][: len(encoded[i]) - len(end)][:longest], *end] for i in indices]
    cut = sum(len(ids) > longest + len(end) for ids in encoded)
    if cut:
        logger.warning("%d sentences cut to %d tokens", cut, MAX_SOURCE_LENGTH)
    outputs = [""] * len(sentences)
    (prefix_ids,) = vocabulary.encode_target([options.target_prefix], model.config)
    target_prefix = prefix_ids[len(model.config.target_prefix) : -1]  # without EOS

    def texts() -> TokenTexts:
        silent = frozenset(model.config.language_ids.values())
        return TokenTexts(vocabulary.target_texts(model.config), silent=silent)

    with tqdm(total=len(sources), unit=" sentences", leave=False, disable=None) as bar:
        for batch, results in search_batches(model, sources, options, target_prefix, texts):
            for i, hypotheses in zip(batch, results, strict=True):
                ids = [*target_prefix, *hypotheses[0].ids]
                outputs[indices[i]] = vocabulary.decode_target(ids)
            bar.update(len(batch))
    return outputs
