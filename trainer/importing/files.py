"""Reading a folder that transformers saved: JSON, and tensors that are nothing but tensors."""

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tfm.trainer.checkpoint import read_weights
from tfm.trainer.errors import TrainError

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
LFS_POINTER = b"version https://git-lfs"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        TrainError: missing, or none
    """
    try:
        tree = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise TrainError(
            f"{path}: not found; is this a model's folder as transformers saves it?"
        ) from error
    except (OSError, ValueError) as error:
        raise TrainError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(tree, dict):
        raise TrainError(f"{path}: not a JSON object")
    return tree


def read_optional_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no such file."""
    return read_json(path) if path.exists() else {}


def read_bytes(path: Path) -> bytes:
    """Raises TrainError when path cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrainError(f"{path}: cannot be read: {error.strerror}") from error


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, from one file or from the parts that an index names.

    Raises:
        TrainError: no file, a damaged one, or one that is more than tensors
    """
    for name in WEIGHTS:
        if (folder / name).exists():
            return _read_part(folder / name)
        index = folder / f"{name}.index.json"
        if index.exists():
            tensors: dict[str, Tensor] = {}
            for part in sorted(set(read_json(index).get("weight_map", {}).values())):
                tensors |= _read_part(folder / Path(part).name)
            return tensors
    raise TrainError(f"{folder}: no weights: neither {' nor '.join(WEIGHTS)}")


def _read_part(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        raise TrainError(f"{path}: not found, though the index names it")
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
    return dict(tensors)
