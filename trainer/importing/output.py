"""The checkpoint that an imported model becomes."""

from collections.abc import Mapping
from pathlib import Path

from tfm.trainer.checkpoint import CheckpointFolder
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.errors import TrainError
from tfm.trainer.model import Transformer


def new_checkpoint(path: Path) -> CheckpointFolder:
    """A folder to import into; nothing is made yet.

    Raises:
        TrainError: it holds a checkpoint
    """
    folder = CheckpointFolder(path)
    if folder.config.exists():
        raise TrainError(f"{path} already holds a checkpoint: choose another folder")
    return folder


def write_imported(
    folder: CheckpointFolder,
    model: Transformer,
    vocabulary: Vocabulary,
    origin: Mapping[str, bytes],
) -> None:
    """Write the checkpoint.

    Args:
        origin: files of the model itself, by name, that are kept beside it

    Raises:
        TrainError: the folder cannot be made
    """
    try:
        (folder.origin if origin else folder.path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainError(f"{folder} cannot be made: {error.strerror}") from error
    for name, content in origin.items():
        (folder.origin / name).write_bytes(content)
    folder.write(model, vocabulary)
