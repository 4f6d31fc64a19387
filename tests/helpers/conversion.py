"""Run `tfm convert`."""

from pathlib import Path

from click.testing import CliRunner, Result

from helpers.numerals import LARGEST, chinese
from tfm.runtime.commands.cli import cli
from tfm.trainer import checkpoint as files
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer

SENTENCES = [chinese(n) for n in range(1, LARGEST, 333)]


def convert(checkpoint: Path, folder: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["convert", str(checkpoint), str(folder), *options])


def save(model: Transformer, vocabulary: Vocabulary, folder: Path) -> Path:
    folder.mkdir()
    vocabulary.save(folder)
    files.write_config(folder, model.config)
    files.write_weights(folder / files.MODEL, files.weights_of(model))
    return folder
