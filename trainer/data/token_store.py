"""tokens/: a training's pairs as ids on disk, written once and read a batch at a time.

Text and ids need not fit into memory: only a 20-byte index entry per pair is kept there. Every
process of a training reads the same files.
"""

import dataclasses
import json
import shutil
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from tqdm import tqdm

from tfm.runtime.files.atomic import new_folder
from tfm.trainer.config import TransformerConfig
from tfm.trainer.errors import TrainError

from .batches import EncodedText, encode_pairs, require_pairs
from .corpora import Corpora, Group
from .vocabulary import Vocabulary

IDS, PAIRS, INDEX = "ids.bin", "pairs.npy", "index.json"

_PATH_KEYS = ("path", "source", "target")  # of a corpus


def store_tokens(
    folder: Path,
    corpora: Corpora,
    vocabulary: Vocabulary,
    config: TransformerConfig,
    max_length: int,
) -> int:
    """Tokenize corpora into folder, unless it holds them already; returns how many pairs were left
    out, with a side over max_length tokens.

    Raises:
        TrainError: the corpora cannot be read, no pair is left, or the disk is full
    """
    corpora.check()
    made_of = _made_of(corpora, vocabulary, config, max_length)
    index = _read_index(folder)
    if index is not None and _without_folders(index["made_of"]) == made_of:
        return int(index["skipped"])
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with new_folder(folder) as partial:
            skipped = _write_tokens(partial, corpora, vocabulary, config, max_length, made_of)
    except OSError as error:
        raise TrainError(f"{folder}: cannot be written: {error.strerror}") from error
    return skipped


def _write_tokens(
    folder: Path,
    corpora: Corpora,
    vocabulary: Vocabulary,
    config: TransformerConfig,
    max_length: int,
    made_of: dict[str, Any],
) -> int:
    """Write the files of the folder, and return how many pairs were left out."""
    dtype = _id_type(config)
    tables, skipped = [], 0
    with (
        (folder / IDS).open("wb") as ids,
        tqdm(
            desc="tokenizing", unit=" pairs", mininterval=1.0, delay=2.0, dynamic_ncols=True
        ) as bar,
    ):
        for chunk in encode_pairs(corpora, vocabulary, config, max_length):
            ids.write(chunk.ids.astype(dtype).tobytes())
            tables.append(chunk.pairs)
            skipped += chunk.skipped
            bar.update(len(chunk.pairs) + chunk.skipped)
    pairs = np.concatenate(tables)
    require_pairs(len(pairs), max_length)
    np.save(folder / PAIRS, pairs)
    groups = [dataclasses.asdict(group) for group in corpora.groups]
    content = {"made_of": made_of, "skipped": skipped, "groups": groups}
    (folder / INDEX).write_text(json.dumps(content), "utf-8")
    return skipped


def open_tokens(folder: Path, config: TransformerConfig) -> EncodedText:
    """What store_tokens wrote, mapped into memory.

    Raises:
        TrainError: missing or damaged
    """
    index = _read_index(folder)
    if index is None:
        raise TrainError(f"{folder}: missing or damaged: remove it and --resume")
    try:
        pairs = np.load(folder / PAIRS)
        ids = np.memmap(folder / IDS, _id_type(config), "r")
    except (OSError, ValueError) as error:
        raise TrainError(f"{folder}: damaged: remove it and --resume") from error
    if len(ids) != pairs[:, :2].sum(dtype=np.int64):
        raise TrainError(f"{folder}: {IDS} is cut short: remove the folder and --resume")
    return EncodedText(ids, pairs, [Group(**group) for group in index["groups"]], config.pad_id)


def _id_type(config: TransformerConfig) -> type[np.uint16] | type[np.int32]:
    small = max(config.source_vocab_size, config.target_vocab_size) <= 1 << 16
    return np.uint16 if small else np.int32


def _read_index(folder: Path) -> dict[str, Any] | None:
    try:
        index: dict[str, Any] = json.loads((folder / INDEX).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return index


def _made_of(
    corpora: Corpora, vocabulary: Vocabulary, config: TransformerConfig, max_length: int
) -> dict[str, Any]:
    """What the ids depend on, as JSON would read it back."""
    states = [(path.resolve(), path.stat()) for path in corpora.files()]
    content = {
        "corpora": [dataclasses.asdict(recipe) for recipe in corpora.recipes],
        "files": [[str(path), state.st_size, state.st_mtime_ns] for path, state in states],
        "vocabulary": vocabulary.digest,
        "prefixes": [config.source_prefix, config.target_prefix],
        "max_length": max_length,
    }
    return _without_folders(json.loads(json.dumps(content)))


def _without_folders(made_of: dict[str, Any]) -> dict[str, Any]:
    """The same, with the files' names alone in "corpora": their paths depend on the working
    directory, and "files" has the absolute ones."""
    corpora = [
        corpus
        | {key: PurePath(corpus[key]).name for key in _PATH_KEYS if corpus.get(key)}
        | {"names": [PurePath(path).name for path in corpus.get("names", ())]}
        for corpus in made_of["corpora"]
    ]
    return made_of | {"corpora": corpora}
