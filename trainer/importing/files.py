"""Reading a folder that transformers saved: JSON, and tensors that are nothing but tensors."""

import json
import pickle
import stat
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tfm.trainer.checkpoint import read_weights
from tfm.trainer.errors import TrainError

from .sentencepiece_ids import parse

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
JSON_FILES = (
    *("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("vocab.json", "target_vocab.json", "added_tokens.json", "tokenizer.json"),
)
SENTENCEPIECE_FILES = ("source.spm", "target.spm", "sentencepiece.bpe.model")
LFS_POINTER = b"version https://git-lfs"


class TransformersFolder:
    """A folder as transformers saves it. Nothing that lies outside it is read, whatever its links
    point to; of a hub's cache, blobs/ counts as inside.

    Attributes:
        path: the folder
        contents: the content of every file that was read and understood, but for the weights
    """

    def __init__(self, path: Path) -> None:
        """Nothing is read yet."""
        self.path = path
        self.contents: dict[str, bytes] = {}

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.path / name).exists()

    def find(self, name: str) -> Path:
        """The path of a regular file of the folder.

        Raises:
            TrainError: it is missing, a link to somewhere else, or no regular file
        """
        path = self.path / name
        try:
            real = path.resolve(strict=True)
            is_regular = stat.S_ISREG(real.stat().st_mode)
        except FileNotFoundError as error:
            raise TrainError(
                f"{path}: not found; is this a model's folder as transformers saves it?"
            ) from error
        except (OSError, RuntimeError, ValueError) as error:  # such as a link to itself
            raise TrainError(f"{path}: cannot be read: {error}") from error
        folder = self.path.resolve()
        inside = [folder]
        if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
            inside.append(folder.parent.parent / "blobs")
        if not any(real.is_relative_to(place) for place in inside):
            raise TrainError(
                f"{path} is a link to {real}, outside the folder: put the file itself there"
            )
        if not is_regular:
            raise TrainError(f"{path}: not a regular file")
        return path

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON object.

        Raises:
            TrainError: missing, or none
        """
        path = self.find(name)
        content = _read(path)
        try:
            tree = json.loads(content.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise TrainError(f"{path}: cannot be read as JSON: {error}") from error
        if not isinstance(tree, dict):
            raise TrainError(f"{path}: not a JSON object")
        self.contents[name] = content
        return tree

    def read_optional_json(self, name: str) -> dict[str, Any]:
        """A JSON object, empty where there is no such file."""
        return self.read_json(name) if self.has(name) else {}

    def read_sentencepiece(self, name: str) -> bytes:
        """A serialized SentencePiece model.

        Raises:
            TrainError: missing, or none
        """
        path = self.find(name)
        content = _read(path)
        try:
            parse(content)
        except TrainError as error:
            raise TrainError(f"{path}: {error}") from error
        self.contents[name] = content
        return content

    def read_tensors(self) -> dict[str, Tensor]:
        """All tensors, from one file or from the parts that an index names.

        Raises:
            TrainError: no file, a damaged one, or one that is more than tensors
        """
        for name in WEIGHTS:
            if self.has(name):
                return _read_part(self.find(name))
            index = f"{name}.index.json"
            if self.has(index):
                return self._read_parts(index)
        raise TrainError(f"{self.path}: no weights: neither {' nor '.join(WEIGHTS)}")

    def _read_parts(self, index: str) -> dict[str, Tensor]:
        parts = self.read_json(index).get("weight_map")
        if not isinstance(parts, dict) or not all(isinstance(p, str) for p in parts.values()):
            raise TrainError(f"{self.path / index}: weight_map is no table of file names")
        tensors: dict[str, Tensor] = {}
        for part in sorted(set(parts.values())):
            name = Path(part).name
            if not self.has(name):
                raise TrainError(f"{self.path / name}: not found, though the index names it")
            tensors |= _read_part(self.find(name))
        return tensors


def read_origin(folder: Path) -> dict[str, bytes]:
    """The files of a checkpoint's origin/, by name: what `import_folder` puts there, nothing else.

    Raises:
        TrainError: one of them is damaged, or a link to somewhere else
    """
    given = TransformersFolder(folder)
    for name in JSON_FILES:
        given.read_optional_json(name)
    for name in filter(given.has, SENTENCEPIECE_FILES):
        given.read_sentencepiece(name)
    return given.contents


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrainError(f"{path}: cannot be read: {error.strerror}") from error


def _read_part(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        beginning = file.read(len(LFS_POINTER))
    if beginning == LFS_POINTER:
        raise TrainError(f"{path}: a pointer of Git LFS, not the file itself: run `git lfs pull`")
    if path.suffix == ".safetensors":
        return read_weights(path)
    try:
        with warnings.catch_warnings():  # of what is about to be an error anyway
            warnings.simplefilter("ignore")
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise TrainError(
            f"{path}: damaged, or more than tensors, and then it is not read: a pickle can run "
            "any code"
        ) from error
    except (OSError, RuntimeError, EOFError) as error:
        reason = next(iter(str(error).splitlines()), "it ends too early")
        raise TrainError(f"{path}: damaged: {reason}") from error
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise TrainError(f"{path}: not a dictionary of tensors")
    for name, tensor in tensors.items():
        # A small storage can pose as a large tensor, which would take memory once it is used.
        size = tensor.numel() * tensor.element_size()
        if tensor.layout != torch.strided or size > tensor.untyped_storage().nbytes():
            raise TrainError(f"{path}: {name!r} is not stored as a whole tensor")
    return dict(tensors)
