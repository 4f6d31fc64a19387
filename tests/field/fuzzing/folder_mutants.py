"""Mutants of a model folder, one change each, with and without the hashes put right."""

import hashlib
import json
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from .file_mutations import (
    BYTE_CHANGES,
    LARGE,
    REPLACEMENTS,
    link_to_device,
    link_to_outside,
    pipe_instead,
)
from .graph_mutations import mutate_graph
from .json_mutations import mutate_json
from .mutation import Allowed, Mutation

CONFIG = "config.json"
MODEL = "model"
OUTSIDE = "outside/secret.bin"
_WITHOUT_HASH = (CONFIG, "checkpoint.json", "verify.json")
_hash_of_zeros: list[str] = []


class FolderMutator:
    """Makes mutants of one model folder.

    Attributes:
        original: the folder, on the file system of the mutants
        variant: the one that the runtime chooses on a CPU
    """

    def __init__(self, original: Path) -> None:
        self.original = original
        self._config = (original / CONFIG).read_text("utf-8")
        data = json.loads(self._config)
        self.variant = "int8" if "int8" in data["variants"] else next(iter(data["variants"]))
        paths = {entry["path"] for entry in _entries(data)}
        without_hash = {name for name in _WITHOUT_HASH if (original / name).exists()}
        self._files = sorted(paths | without_hash)

    def write(self, case: Path, rng: random.Random) -> Mutation:
        """Write a mutant to `case / MODEL`, and beside it `case / OUTSIDE`, not to be read.

        Files that are as they were are hard links: whoever reads them changes nothing.
        """
        folder = case / MODEL
        shutil.copytree(self.original, folder, copy_function=_link)
        (case / OUTSIDE).parent.mkdir()
        (case / OUTSIDE).write_bytes(b"secret")
        choose = rng.random()
        if choose < 0.35:
            data, mutation = mutate_json(self._config, rng, self.variant)
            _write(folder / CONFIG, data)
            return mutation
        if choose < 0.70:
            return self._graph(folder, rng, case / OUTSIDE)
        if choose < 0.92:
            return self._bytes(folder, rng)
        return self._replaced(folder, rng, case / OUTSIDE)

    def _graph(self, folder: Path, rng: random.Random, outside: Path) -> Mutation:
        graphs = [name for name in self._files if name.endswith(".onnx")]
        weights = [4 if name.startswith(self.variant + "/") else 1 for name in graphs]
        name = rng.choices(graphs, weights)[0]
        if rng.random() < 0.15:
            other = rng.choice([graph for graph in graphs if graph != name])
            data = (self.original / other).read_bytes()
            kind = Allowed.ANOTHER if Path(other).name == Path(name).name else Allowed.THE_SAME
            mutation = Mutation("graph: another graph", other, kind)
        else:
            shutil.copyfile((self.original / name).with_name("weights.bin"), outside)
            data, mutation = mutate_graph((self.original / name).read_bytes(), rng, outside)
        _write(folder / name, data)
        mutation = replace(mutation, detail=f"{name}: {mutation.detail}")
        return self._signed(folder, name, mutation) if rng.random() < 0.9 else self._unsigned(
            name, mutation
        )  # fmt: skip

    def _bytes(self, folder: Path, rng: random.Random) -> Mutation:
        name = rng.choice(self._files)
        data = bytearray((self.original / name).read_bytes())
        if rng.random() < 0.1:
            other = rng.choice([file for file in self._files if file != name])
            data[:] = (self.original / other).read_bytes()
            detail = f"is {other}"
        else:
            change = rng.choice(BYTE_CHANGES)
            detail = change(data, rng)
        _write(folder / name, bytes(data))
        same = bytes(data) == (self.original / name).read_bytes()
        allowed = Allowed.THE_SAME if same else Allowed.ANOTHER
        mutation = Mutation(f"bytes of {_kind(name)}", f"{name}: {detail}", allowed, True)
        signed = rng.random() < 0.7
        return self._signed(folder, name, mutation) if signed else self._unsigned(name, mutation)

    def _replaced(self, folder: Path, rng: random.Random, outside: Path) -> Mutation:
        name = rng.choice(self._files)
        replacement = rng.choice(REPLACEMENTS)
        detail = replacement(folder / name, outside)
        linked = replacement is link_to_outside  # as package managers and caches do
        allowed = Allowed.THE_SAME if linked or not self._is_read(name) else Allowed.NOTHING
        mutation = Mutation(f"file: {detail}", name, allowed, links_outside=linked)
        if name not in _WITHOUT_HASH and rng.random() < 0.6:
            entry = {}
            if replacement in (pipe_instead, link_to_device):
                entry = {"size": 0, "sha256": hashlib.sha256(b"").hexdigest()}
            elif (folder / name).is_file() and (folder / name).stat().st_size == LARGE:
                entry = {"size": LARGE, "sha256": _zeros()}
                mutation = replace(mutation, allowed=Allowed.ANOTHER)  # weights may be zero
            self._change_entry(folder, name, entry)
        return mutation

    def _signed(self, folder: Path, name: str, mutation: Mutation) -> Mutation:
        """Put size and hash of the file into config.json."""
        if name in _WITHOUT_HASH:
            return self._unsigned(name, mutation)
        data = (folder / name).read_bytes()
        entry = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        self._change_entry(folder, name, entry)
        allowed = mutation.allowed if self._is_read(name) else Allowed.THE_SAME
        return replace(mutation, kind=f"{mutation.kind}, signed", allowed=allowed)

    def _unsigned(self, name: str, mutation: Mutation) -> Mutation:
        """What may come of a file whose hash is another."""
        allowed = mutation.allowed
        if name == CONFIG:
            allowed = Allowed.ANOTHER  # it has no hash; most bytes of it have one right value
        elif not self._is_read(name):
            allowed = Allowed.THE_SAME
        elif mutation.allowed is not Allowed.THE_SAME or mutation.kind.startswith("graph"):
            allowed = Allowed.NOTHING
        return replace(mutation, allowed=allowed)

    def _is_read(self, name: str) -> bool:
        """Whether the runtime reads a file of the folder."""
        if name in _WITHOUT_HASH:
            return name == CONFIG
        return "/" not in name or name.startswith(self.variant + "/")

    def _change_entry(self, folder: Path, name: str, values: dict[str, Any]) -> None:
        data = json.loads(self._config)
        for entry in _entries(data):
            if entry["path"] == name:
                entry.update(values)
        _write(folder / CONFIG, json.dumps(data, indent=2).encode("utf-8"))


def _entries(data: Any) -> Iterator[dict[str, Any]]:
    yield from data["tokenizer"].values()
    for files in data["variants"].values():
        yield from files.values()


def _kind(name: str) -> str:
    return name if "/" not in name and not name.endswith(".spm") else f"*{Path(name).suffix}"


def _link(source: str, target: str) -> None:
    """A hard link, but a copy of weights: onnxruntime refuses weights that have two names."""
    if source.endswith(".bin"):
        shutil.copyfile(source, target)
    else:
        os.link(source, target)


def _write(path: Path, data: bytes) -> None:
    """Replace a hard link by a file of its own."""
    path.unlink()
    path.write_bytes(data)


def _zeros() -> str:
    if not _hash_of_zeros:
        digest = hashlib.sha256()
        for _ in range(LARGE >> 24):
            digest.update(bytes(1 << 24))
        _hash_of_zeros.append(digest.hexdigest())
    return _hash_of_zeros[0]
