"""Where the model that travels in the wheel lies."""

from importlib.resources import files
from pathlib import Path

from .errors import ModelError

BUNDLED_MODEL = "zh-en"


def bundled_model() -> Path:
    """The folder of the bundled Chinese-English model.

    Raises:
        ModelError: this installation carries no model
    """
    try:
        folder = Path(str(files("tfm.models").joinpath(BUNDLED_MODEL)))
    except ModuleNotFoundError as error:
        raise ModelError("tfm.models is not installed: name a model folder") from error
    if not (folder / "config.json").is_file():
        raise ModelError(f"no bundled model in {folder}: name a model folder")
    return folder
