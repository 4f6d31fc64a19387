"""What there is to do before the first step: vocabulary, configuration and tokens in a folder."""

import dataclasses
import logging
import shutil
from pathlib import Path
from typing import Any, TypeVar

from tfm.runtime.files.atomic import write_text
from tfm.trainer.data.corpora import Corpora, draw_sample, read_corpora
from tfm.trainer.data.token_store import store_tokens
from tfm.trainer.data.vocabulary import Vocabulary, train_vocabulary

from . import checkpoint as files
from .config import (
    Recipe,
    TransformerConfig,
    VocabularyRecipe,
    load_checked,
    load_model_config,
    read_toml,
)
from .errors import TrainError
from .model import Transformer

logger = logging.getLogger(__name__)

FREE = {"dropout", "source_language", "target_language"}  # what --resume may change of a model


def prepare(
    recipe: Recipe, recipe_path: Path, folder: Path, *, resume: bool, init: Path | None
) -> Transformer | None:
    """Bring folder, which is there, to where every process can begin, or go on, from its files.

    Returns:
        the model whose weights to begin with, if there is one

    Raises:
        TrainError: bad data, a state of another model
    """
    recipe_text = recipe_path.read_text("utf-8")  # before anything in folder is removed
    resume = resume and (folder / files.LAST).exists()
    corpora = Corpora(recipe.data.train, recipe_path.parent)
    corpora.check()
    validation = read_corpora([recipe.data.validation], recipe_path.parent)
    vocabulary, config, initial = _network(recipe, corpora, folder, init, resume=resume)
    if resume:
        _check_unchanged(folder, load_model_config(folder / files.CONFIG), config)
        if not files.read_progress(folder).initialized:
            _check_unchanged(folder, _vocabulary_of(folder), recipe.vocabulary)
    else:
        _clear(folder)
        vocabulary.save(folder)
        if init is not None and (init / files.ORIGIN).exists():
            shutil.copytree(init / files.ORIGIN, folder / files.ORIGIN)
    if not resume or recipe_text != (folder / files.RECIPE).read_text("utf-8"):
        write_text(folder / files.RECIPE, recipe_text)
    skipped = store_tokens(
        folder / files.TOKENS, corpora, vocabulary, config, recipe.data.max_length
    )
    if skipped:
        logger.info("%d pairs are over max_length and left out", skipped)
    files.write_pairs(
        folder / files.VALIDATION, *validation.sample(recipe.training.validation_max_sentences)
    )
    files.write_config(folder, config)  # last: without it, nothing takes this for a checkpoint
    return initial


def _network(
    recipe: Recipe, corpora: Corpora, folder: Path, init: Path | None, *, resume: bool
) -> tuple[Vocabulary, TransformerConfig, Transformer | None]:
    """The vocabulary and the configuration of the network, and the weights it begins with if they
    are not random."""
    if resume:
        vocabulary = Vocabulary.load(folder)
        if files.read_progress(folder).initialized:
            return vocabulary, _tuned(load_model_config(folder / files.CONFIG), recipe), None
    elif init is not None:
        initial, vocabulary = files.load_checkpoint(init)
        return vocabulary, _tuned(initial.config, recipe), initial
    else:
        text = draw_sample(corpora, recipe.vocabulary.max_sentences, recipe.training.seed)
        logger.info("training the vocabulary on %d pairs", len(text))
        vocabulary = train_vocabulary(text.sources, text.targets, recipe.vocabulary)
    config = recipe.model.build(
        recipe.data,
        vocabulary.source.vocab_size(),
        vocabulary.target.vocab_size(),
        **vocabulary.special_ids,
    )
    return vocabulary, config, None


Fixed = TypeVar("Fixed", TransformerConfig, VocabularyRecipe)


def _check_unchanged(folder: Path, before: Fixed, wanted: Fixed) -> None:
    """Raise TrainError where the recipe wants another model or vocabulary than it resumes."""
    found = dataclasses.asdict(before)
    for name, value in dataclasses.asdict(wanted).items():
        if name not in FREE and found[name] != value:
            raise TrainError(
                f"{folder} was trained with {name} {found[name]}, not {value}: use that recipe"
            )


def _vocabulary_of(folder: Path) -> VocabularyRecipe:
    path = folder / files.RECIPE
    return load_checked(VocabularyRecipe, read_toml(path).get("vocabulary", {}), str(path))


def refuse_to_overwrite(folder: Path, init: Path | None, *, resume: bool) -> None:
    """Raise TrainError where training would overwrite what it cannot make again."""
    if init is not None and init.resolve() == folder.resolve():
        raise TrainError(f"--init and --out are both {folder}: choose another folder to write")
    if (folder / files.LAST).exists() and not resume:
        raise TrainError(
            f"{folder} already holds a training; continue it with --resume or choose another folder"
        )
    if (folder / files.LAST).exists():
        return
    if (folder / files.MODEL).exists():
        raise TrainError(
            f"{folder} holds weights, but no {files.LAST} to continue from: choose another folder"
        )
    if (folder / files.CONFIG).exists() and not (folder / files.TOKENS).exists():
        raise TrainError(
            f"{folder} holds a model that was not trained there: choose another folder"
        )


def _tuned(config: TransformerConfig, recipe: Recipe) -> TransformerConfig:
    """The configuration of a model that others trained, as the recipe has it go on."""
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


def _clear(folder: Path) -> None:
    """Remove what an earlier training left that never came to save its state."""
    for name in (files.RECENT, files.ORIGIN, files.TENSORBOARD):
        shutil.rmtree(folder / name, ignore_errors=True)
    stale = (files.MODEL, files.BEST, files.AVERAGE, files.METRICS, files.CURVES, files.SAMPLES)
    for name in (*stale, files.CONFIG):
        (folder / name).unlink(missing_ok=True)
