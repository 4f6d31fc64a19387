"""The models that travel in the wheel, by name."""

import os
from pathlib import Path

from .errors import ModelError

BUNDLED_MODELS = ("zh-en", "en-zh")  # the first is the one that is used when none is named


def bundled_model(name: str = BUNDLED_MODELS[0]) -> Path:
    """The folder of a bundled model.

    Raises:
        ModelError: this installation carries no such model
    """
    from importlib.resources import files  # slow to import, and `tfm --help` needs none

    try:
        folder = Path(str(files("tfm.models").joinpath(name)))
    except ModuleNotFoundError as error:
        raise ModelError("tfm.models is not installed: name a model folder") from error
    if not (folder / "config.json").is_file():
        raise ModelError(f"no bundled model in {folder}: name a model folder")
    return folder


def find_model(model: str | os.PathLike[str] | None) -> Path:
    """The folder that a model folder's path or a bundled model's name stands for; a folder goes
    before a name.

    Args:
        model: None is the default bundled model

    Raises:
        ModelError: a bundled model is meant, and this installation does not carry it
    """
    if model is None:
        return bundled_model()
    folder = Path(model)
    return bundled_model(str(model)) if is_bundled_name(model) else folder


def is_bundled_name(model: str | os.PathLike[str]) -> bool:
    """Whether it names a bundled model, and no file or folder."""
    return str(model) in BUNDLED_MODELS and not Path(model).exists()
