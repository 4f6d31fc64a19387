"""Before the first step: write vocabulary, configuration and tokens to the checkpoint folder."""

import dataclasses
import logging
import tomllib
from pathlib import Path
from typing import Any, TypeVar

import torch

from tfm.runtime.files.atomic import write_text
from tfm.trainer.data.corpora import Corpora, draw_sample, read_corpora
from tfm.trainer.data.token_store import store_tokens
from tfm.trainer.data.vocabulary import Vocabulary, train_vocabulary

from .checkpoint import CheckpointFolder, load_checkpoint
from .config import (
    PRESETS,
    SIZES,
    Recipe,
    TransformerConfig,
    VocabularyRecipe,
    load_checked,
    read_toml,
)
from .device import faster_precision
from .errors import TrainError
from .growth import grow
from .importing.files import read_origin
from .model import Transformer
from .processes import Processes
from .vocabulary_transfer import transfer_vocabulary

logger = logging.getLogger(__name__)

FREE = {"dropout", "source_language", "target_language"}  # what --resume may change of a model


def prepare(
    recipe: Recipe,
    folder: CheckpointFolder,
    *,
    resume: bool,
    init: Path | None,
    new_vocabulary: bool = False,
    larger: bool = False,
) -> Transformer | None:
    """Write to the existing folder what every process reads before it begins or resumes.

    With `new_vocabulary` the model of --init gets a vocabulary trained as the recipe says, with
    `larger` the recipe's layers and d_ff (`grow`).

    Returns:
        the model of --init, whose weights training begins with, or None

    Raises:
        TrainError: bad data, a state of another model
    """
    if not recipe.text:
        raise ValueError("the recipe has no text to copy into the checkpoint: use load_recipe")
    if "max_steps" not in tomllib.loads(recipe.text).get("training", {}):
        logger.warning(
            "training.max_steps is not set: this is a training of %d steps",
            recipe.training.max_steps,
        )
    resume = resume and folder.last.exists()
    corpora = Corpora(recipe.data.train)
    corpora.check()
    validation = read_corpora([recipe.data.validation])
    vocabulary, config, initial = _network(
        recipe, corpora, folder, init, resume=resume, new_vocabulary=new_vocabulary, larger=larger
    )
    if resume:
        _check_unchanged(folder, folder.read_config(), config)
        if not folder.read_state().initialized:
            _check_unchanged(folder, _vocabulary_of(folder), recipe.vocabulary)
    else:
        folder.clear()
        vocabulary.save(folder.path)
        if init is not None and not (new_vocabulary or larger):
            _copy_origin(CheckpointFolder(init), folder)
    if not resume or recipe.text != folder.recipe.read_text("utf-8"):
        write_text(folder.recipe, recipe.text)
    skipped = store_tokens(folder.tokens, corpora, vocabulary, config, recipe.data.max_length)
    if skipped:
        logger.info(
            "%d pairs have a side over max_length (%d tokens) and are left out",
            skipped,
            recipe.data.max_length,
        )
    folder.write_validation(*validation.sample(recipe.training.validation_max_sentences))
    folder.write_config(config)  # last: a folder without it is no checkpoint
    return initial


def _copy_origin(imported: CheckpointFolder, folder: CheckpointFolder) -> None:
    """Keep an imported model's own files beside a model of the same sizes and vocabulary."""
    if imported.origin.exists():
        folder.origin.mkdir()
        for name, content in read_origin(imported.origin).items():
            (folder.origin / name).write_bytes(content)


def _network(
    recipe: Recipe,
    corpora: Corpora,
    folder: CheckpointFolder,
    init: Path | None,
    *,
    resume: bool,
    new_vocabulary: bool,
    larger: bool,
) -> tuple[Vocabulary, TransformerConfig, Transformer | None]:
    """The vocabulary and the configuration of the network, and the weights it begins with if they
    are not random."""
    if resume:
        vocabulary = Vocabulary.load(folder.path)
        if folder.read_state().initialized:
            return vocabulary, _tuned(folder.read_config(), recipe), None
    elif init is not None:
        _name_what_init_replaces(recipe, init, new_vocabulary=new_vocabulary, larger=larger)
        initial, vocabulary = load_checkpoint(init)
        if new_vocabulary:
            before, vocabulary = vocabulary, _train_vocabulary(recipe, corpora)
            initial = transfer_vocabulary(initial, before, vocabulary)
        if larger:
            initial = grow(initial, _sizes(recipe, initial.config))
        return vocabulary, _tuned(initial.config, recipe), initial
    else:
        vocabulary = _train_vocabulary(recipe, corpora)
    config = recipe.model.build(
        recipe.data,
        vocabulary.source.vocab_size(),
        vocabulary.target.vocab_size(),
        **vocabulary.special_ids,
    )
    return vocabulary, config, None


def _sizes(recipe: Recipe, config: TransformerConfig) -> TransformerConfig:
    """The configuration of --init's model with what the recipe's [model] says of sizes."""
    wanted = PRESETS[recipe.model.preset]
    named = {name: getattr(recipe.model, name) for name in SIZES}
    sizes = {name: wanted[name] if value is None else value for name, value in named.items()}
    return dataclasses.replace(config, **sizes)


def _train_vocabulary(recipe: Recipe, corpora: Corpora) -> Vocabulary:
    text = draw_sample(corpora, recipe.vocabulary.max_sentences, recipe.training.seed)
    logger.info("training the vocabulary on %d pairs", len(text))
    return train_vocabulary(text.sources, text.targets, recipe.vocabulary)


def _name_what_init_replaces(
    recipe: Recipe, init: Path, *, new_vocabulary: bool, larger: bool
) -> None:
    """Warn of keys that count for nothing, because the model and the vocabulary are given."""
    tree = tomllib.loads(recipe.text)
    counting = {"dropout", "preset", *SIZES} if larger else {"dropout"}
    keys = [f"model.{key}" for key in tree.get("model", {}) if key not in counting]
    if not new_vocabulary:
        keys += [f"vocabulary.{key}" for key in tree.get("vocabulary", {})]
    if keys:
        logger.warning(
            "--init keeps the model%s of %s: %s of the recipe count for nothing",
            "" if new_vocabulary else " and the vocabulary",
            init,
            ", ".join(keys),
        )


Fixed = TypeVar("Fixed", TransformerConfig, VocabularyRecipe)


def _check_unchanged(folder: CheckpointFolder, before: Fixed, wanted: Fixed) -> None:
    """Raise TrainError where the recipe wants another model or vocabulary than it resumes."""
    trained = dataclasses.asdict(before)
    for name, value in dataclasses.asdict(wanted).items():
        if name not in FREE and trained[name] != value:
            raise TrainError(
                f"{folder} was trained with {name} {trained[name]}, not {value}: use that recipe"
            )


def _vocabulary_of(folder: CheckpointFolder) -> VocabularyRecipe:
    path = folder.recipe
    return load_checked(VocabularyRecipe, read_toml(path).get("vocabulary", {}), str(path))


def refuse_to_overwrite(folder: CheckpointFolder, init: Path | None, *, resume: bool) -> None:
    """Raise TrainError where training would overwrite what it cannot make again."""
    if init is not None and init.resolve() == folder.path.resolve():
        raise TrainError(f"--init and --out are both {folder}: choose another folder to write")
    if folder.last.exists() and not resume:
        raise TrainError(
            f"{folder} already holds a training; continue it with --resume or choose another folder"
        )
    if folder.last.exists():
        return
    if folder.model.exists():
        raise TrainError(
            f"{folder} holds weights, but no {folder.last.name} to continue from: "
            "choose another folder"
        )
    if folder.config.exists() and not folder.tokens.exists():
        raise TrainError(
            f"{folder} holds a model that was not trained there: choose another folder"
        )


def _tuned(config: TransformerConfig, recipe: Recipe) -> TransformerConfig:
    """The configuration of --init's model with the recipe's dropout and languages."""
    changes: dict[str, Any] = {"dropout": recipe.model.dropout}
    for side in ("source_language", "target_language"):
        language, unsaid = getattr(recipe.data, side), side.removesuffix("_language")
        if language != unsaid:
            if config.language_token != "none" and language not in config.language_ids:
                raise TrainError(
                    f"data.{side} is {language!r}, none of the model's languages: "
                    f"{', '.join(sorted(config.language_ids))}"
                )
            changes[side] = language
    return dataclasses.replace(config, **changes)


def in_precision(
    recipe: Recipe,
    folder: CheckpointFolder,
    device: torch.device,
    processes: Processes,
    *,
    resume: bool,
) -> Recipe:
    """The recipe with precision "auto" replaced by the faster one, or that of the run resumed."""
    if recipe.training.precision != "auto":
        return recipe
    precision = folder.read_state().precision if resume else ""
    if not precision and processes.is_main:
        precision = faster_precision(folder.read_config(), device)
        logger.info("computing in %s, which is faster here", precision)
    is_bf16 = processes.broadcast(precision) == "bf16"
    training = dataclasses.replace(recipe.training, precision="bf16" if is_bf16 else "fp32")
    return dataclasses.replace(recipe, training=training)
