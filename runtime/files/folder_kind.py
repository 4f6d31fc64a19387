"""What kind of folder a folder is, and what to do with one of another kind than was asked for."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from .regular import read_regular

_MOST_BYTES = 1 << 22  # of a config.json
_MOST_FOLDERS = 100  # to look into, of those inside a folder


class FolderKind(Enum):
    """The kinds that are told apart; the value is how a sentence calls one."""

    MODEL_FOLDER = "a model folder"
    CHECKPOINT = "a checkpoint"
    HUGGING_FACE = "a Hugging Face folder"
    CTRANSLATE2 = "a CTranslate2 folder"
    MARIAN = "a folder of Marian itself"


_TRANSLATE = "`tfm run -m {folder}` translates with it"
_IMPORT = "`tfm import {folder} CHECKPOINT` makes a checkpoint of it"
_EXPORT = "`tfm export {folder} MODEL_FOLDER` makes a model folder of it"
_CONVERT = "`tfm convert {folder} CHECKPOINT --to checkpoint` makes a checkpoint of it"
_IMPORT_AND_EXPORT = (
    "`tfm import {folder} CHECKPOINT`, then `tfm export CHECKPOINT MODEL_FOLDER` make a model"
    " folder of it"
)

# What others write and `tfm import` reads.
IMPORTED = (FolderKind.HUGGING_FACE, FolderKind.CTRANSLATE2, FolderKind.MARIAN)

# What is there, and what is wanted.
_ADVICE: Mapping[tuple[FolderKind, FolderKind], str] = {
    (FolderKind.CHECKPOINT, FolderKind.MODEL_FOLDER): _EXPORT,
    (FolderKind.MODEL_FOLDER, FolderKind.CHECKPOINT): _CONVERT,
    **{(kind, FolderKind.MODEL_FOLDER): _IMPORT_AND_EXPORT for kind in IMPORTED},
    **{(kind, FolderKind.CHECKPOINT): _IMPORT for kind in IMPORTED},
    **{(FolderKind.CHECKPOINT, kind): _EXPORT for kind in IMPORTED},
    **{(FolderKind.MODEL_FOLDER, kind): _TRANSLATE for kind in IMPORTED},
}


def wrong_kind(folder: Path, *wanted: FolderKind) -> str | None:
    """What is wrong with a folder, if it, or one beside it, is known to be of another kind.

    Args:
        wanted: the kinds that the caller can use, the one that advice leads to first

    Returns:
        a sentence with the advice; None if the folder is of a wanted kind, or nothing is known
        about it
    """
    here = folder_kind(folder)
    if here in wanted:
        return None
    if here is not None:
        advice = _ADVICE[here, wanted[0]].format(folder=folder)
        return f"{folder} is {here.value}, not {_any_of(wanted)}: {advice}"
    near = list(_near(folder))
    fitting = [(path, kind) for path, kind in near if kind in wanted]
    for path, kind in fitting or near:
        return f"{folder} is not {_any_of(wanted)}, but {path} is {kind.value}: did you mean that?"
    return None


def folder_kind(folder: Path) -> FolderKind | None:
    """The kind of a folder by its files; None if it is none that is known."""
    found = _Contents.of(folder)
    config = found.config
    if "format_version" in config:
        return FolderKind.MODEL_FOLDER
    if "model.bin" in found.names and any("vocabulary" in name for name in found.names):
        return FolderKind.CTRANSLATE2
    if "model_type" in config or "architectures" in config:
        return FolderKind.HUGGING_FACE
    if "source_vocab_size" in config and "d_model" in config:
        return FolderKind.CHECKPOINT
    if "last.safetensors" in found.names and found.names & {"recipe.toml", "metrics.jsonl"}:
        return FolderKind.CHECKPOINT
    if "decoder.yml" in found.names and any(n.endswith((".npz", ".bin")) for n in found.names):
        return FolderKind.MARIAN
    return None


@dataclass(frozen=True)
class _Contents:
    names: set[str]
    config: Mapping[str, Any]  # of config.json; empty where there is none to be read

    @classmethod
    def of(cls, folder: Path) -> "_Contents":
        try:
            names = {path.name for path in folder.iterdir()}
        except OSError:
            return cls(set(), {})
        try:
            tree = json.loads(read_regular(folder / "config.json", _MOST_BYTES))
        except (OSError, ValueError, RecursionError):
            tree = None
        return cls(names, tree if isinstance(tree, dict) else {})


def _near(folder: Path) -> Iterator[tuple[Path, FolderKind]]:
    """Folders of a known kind inside this one, or around it."""
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir())[:_MOST_FOLDERS]
    except OSError:
        return
    snapshots = folder / "snapshots"  # a hub's cache has the files of each revision there
    if snapshots.is_dir():
        inside += sorted(snapshots.iterdir())[:_MOST_FOLDERS]
    for path in (*inside, folder.absolute().parent):
        kind = folder_kind(path)
        if kind is not None:
            yield path, kind


def _any_of(kinds: tuple[FolderKind, ...]) -> str:
    return " or ".join(kind.value for kind in kinds)
