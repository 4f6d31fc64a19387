"""A study: one base recipe, variants of it that differ in a few keys, and what came of each.

STUDY.toml names the base recipe and the variants; the first is the one that others are compared
with. Every variant trains as `tfm train` would, from a recipe that is written out whole.
"""

import contextlib
import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfm.runtime.cpu import usable_cpus
from tfm.runtime.files.atomic import write_text
from tfm.trainer.checkpoint import CheckpointFolder
from tfm.trainer.config import load_checked, load_recipe, read_toml, recipe_of
from tfm.trainer.errors import DivergedError, TrainError
from tfm.trainer.train import train
from tfm.trainer.training_state import is_over

from .parallel_trainings import Job, train_side_by_side
from .results import Result, read_result, write_results

logger = logging.getLogger(__name__)

CHANGEABLE = ("model", "training")  # not [data] nor [vocabulary]: losses would not compare
DIVERGED = "diverged.json"  # in a checkpoint folder: the step whose loss was NaN or infinite

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantText:
    """[[variant]]: what people read of it. `name` is that of its folder, too; variants of one
    `group` share a panel of the picture with the first variant, whose own group may be empty."""

    name: str
    claim: str
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyText:
    """A study file, but for the changes that its variants make."""

    base: str
    variant: tuple[VariantText, ...]


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant, checked.

    Attributes:
        changes: the keys it changes, as lines of TOML
        recipe: the base recipe with them, as parsed TOML; its paths are relative to the base's
            folder
    """

    name: str
    claim: str
    group: str
    changes: tuple[str, ...]
    recipe: Tree


@dataclass(frozen=True, slots=True)
class Study:
    """A study file, checked."""

    base: Path
    variants: tuple[Variant, ...]


def load_study(path: Path) -> Study:
    """Read a study and check the recipe of every variant.

    Raises:
        TrainError: what is wrong with the study, its base recipe or a variant
    """
    tree = read_toml(path)
    changes: list[Tree] = []
    entries = tree.get("variant")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):  # if not, the next line says so
            changes.append({key: entry.pop(key) for key in CHANGEABLE if key in entry})
    text = load_checked(StudyText, tree, str(path))
    base = path.parent / text.base
    recipe = read_toml(base)
    recipe_of(recipe, str(base))
    _check_names(text.variant, path)
    variants = []
    for variant, changed in zip(text.variant, changes, strict=True):
        where = f"{path}: variant {variant.name!r}"
        merged = dict(recipe)
        for table, keys in changed.items():
            if not isinstance(keys, dict):
                raise TrainError(f"{where}: {table}: expected a table, got {keys!r}")
            merged[table] = {**merged.get(table, {}), **keys}
        recipe_of(merged, where)
        lines = tuple(
            f"{table}.{key} = {_value(value)}"
            for table, keys in changed.items()
            for key, value in keys.items()
        )
        variants.append(Variant(variant.name, variant.claim, variant.group, lines, merged))
    return Study(base, tuple(variants))


def _check_names(variants: Sequence[VariantText], path: Path) -> None:
    """Each is the name of a folder, whatever the file system takes for equal."""
    if not variants:
        raise TrainError(f"{path}: no [[variant]]: name at least one")
    seen: set[str] = set()
    for variant in variants:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", variant.name):
            raise TrainError(f"{path}: variant name {variant.name!r}: use letters, digits, - and _")
        if variant.name.lower() in seen:
            raise TrainError(f"{path}: two variants are named {variant.name!r}")
        seen.add(variant.name.lower())


def run_study(study: Study, folder: Path, *, jobs: int = 1, threads: int = 0) -> list[Result]:
    """Train every variant into a folder of its name, from where it stopped, and write the results
    after each: results.md, results.json and study.png.

    A loss that becomes NaN or infinite is a result of that variant; the others go on.

    Args:
        jobs: variants to train at a time; with several, each is a process, and FOLDER/NAME.log has
            what it says
        threads: CPU threads of each of several; 0 shares out the cores

    Raises:
        TrainError: a folder holds another training, bad data
        Interrupted: SIGINT, SIGTERM or SIGHUP came in training; everything is saved
    """
    waiting = []
    for variant in study.variants:
        recipe, checkpoint = write_recipe(study, variant, folder), folder / variant.name
        if _is_over(variant, checkpoint):
            logger.info("%s: done already", variant.name)
        else:
            waiting.append(Job(variant.name, recipe, checkpoint, folder / f"{variant.name}.log"))
    if jobs > 1:
        threads = threads or max(1, usable_cpus() // jobs)
        for job in train_side_by_side(train_variant, waiting, jobs, threads):
            logger.info("%s: done", job.name)
            write_results(results_of(study, folder), folder)
    else:
        for number, job in enumerate(waiting, start=1):
            logger.info("%s (%d of %d)", job.name, number, len(waiting))
            train_variant(job.recipe, job.checkpoint)
            write_results(results_of(study, folder), folder)
    results = results_of(study, folder)
    write_results(results, folder)
    return results


def train_variant(recipe: Path, checkpoint: Path) -> None:
    """Start or resume a training, up to its end or until its loss is NaN or infinite."""
    try:
        train(load_recipe(recipe), checkpoint, resume=True)
    except DivergedError as error:
        logger.info("%s: %s", checkpoint.name, error)
        write_text(checkpoint / DIVERGED, json.dumps({"step": error.step}) + "\n")


def results_of(study: Study, folder: Path) -> list[Result]:
    """What the folder's metrics files say of every variant that has begun."""
    results = []
    for variant in study.variants:
        checkpoint = CheckpointFolder(folder / variant.name)
        diverged = _diverged(checkpoint.path)
        if checkpoint.metrics.exists() or diverged is not None:
            texts = (variant.name, variant.claim, variant.group, variant.changes)
            results.append(read_result(checkpoint, *texts, diverged))
    return results


def write_recipe(study: Study, variant: Variant, folder: Path) -> Path:
    """Write FOLDER/NAME.toml, which `tfm train` takes as well: train copies it to the checkpoint.

    Raises:
        TrainError: the checkpoint folder holds a training by another recipe
    """
    data = dict(variant.recipe["data"])
    data["train"] = [_moved(corpus, study.base.parent, folder) for corpus in data["train"]]
    data["validation"] = _moved(data["validation"], study.base.parent, folder)
    recipe = {**variant.recipe, "data": data}
    trained = CheckpointFolder(folder / variant.name).recipe
    if trained.exists() and (before := read_toml(trained)) != recipe:
        key = next(iter(_differences(before, recipe)))
        raise TrainError(
            f"{trained.parent} was trained with another {key}: move it away, or choose another "
            "folder for the study"
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{variant.name}.toml"
    claim = " ".join(variant.claim.split())
    write_text(path, f"# {claim}\n" + to_toml(recipe))
    return path


def _moved(corpus: Tree, before: Path, after: Path) -> Tree:
    """The corpus with its paths relative to another folder, or absolute on another drive."""
    moved = dict(corpus)
    for key in {"path", "source", "target"} & corpus.keys():
        moved[key] = _moved_path(corpus[key], before, after)
    if "names" in corpus:
        moved["names"] = [_moved_path(name, before, after) for name in corpus["names"]]
    return moved


def _moved_path(name: str, before: Path, after: Path) -> str:
    path = (before / name).resolve()
    with contextlib.suppress(ValueError):
        path = Path(os.path.relpath(path, after.resolve()))
    return path.as_posix()


def _differences(first: Tree, second: Tree) -> list[str]:
    """The keys that differ, as table.key."""
    names = []
    for key in sorted(first.keys() | second.keys()):
        left, right = first.get(key), second.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            names += [f"{key}.{inner}" for inner in _differences(left, right)]
        elif left != right:
            names.append(key)
    return names


def to_toml(tree: Tree) -> str:
    """Parsed TOML as text: tables of plain values, and tables within them in one line."""
    lines = [f"{key} = {_value(value)}" for key, value in tree.items() if type(value) is not dict]
    for key, value in tree.items():
        if type(value) is dict:
            lines += ["", f"[{key}]", *(f"{name} = {_value(v)}" for name, v in value.items())]
    return "\n".join(lines).lstrip("\n") + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f"{json.dumps(k, ensure_ascii=False)} = {_value(v)}" for k, v in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower()  # True, 1E-3 and the like


def _diverged(checkpoint: Path) -> int | None:
    """The step whose loss was NaN or infinite, or None."""
    path = checkpoint / DIVERGED
    return int(json.loads(path.read_text("utf-8"))["step"]) if path.exists() else None


def _is_over(variant: Variant, checkpoint: Path) -> bool:
    """Whether nothing is left to train: it diverged, or came to its end."""
    if _diverged(checkpoint) is not None:
        return True
    trained = CheckpointFolder(checkpoint)
    if not trained.last.exists():
        return False
    options = recipe_of(variant.recipe, variant.name).training
    return is_over(trained.read_state(), options)
