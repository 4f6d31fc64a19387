"""`tfm convert` as a command: what it refuses."""

import shutil
from pathlib import Path

from helpers.conversion import convert, save

from tfm.trainer import checkpoint as files
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer


def test_wrong_calls_are_one_line(
    tiny_model: Transformer, tiny_vocabulary: Vocabulary, tmp_path: Path
) -> None:
    checkpoint = save(tiny_model, tiny_vocabulary, tmp_path / "checkpoint")
    result = convert(checkpoint, tmp_path, "--to", "transformers")
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: {tmp_path} exists: choose a new folder\n",
    )
    result = convert(checkpoint, tmp_path / "x", "--to", "transformers", "--quantization", "int8")
    assert result.exit_code == 2 and "--quantization is for --to ctranslate2" in result.stderr
    (checkpoint / files.MODEL).write_bytes(b"x")
    result = convert(checkpoint, tmp_path / "x", "--to", "ctranslate2")
    assert result.exit_code == 1 and "damaged" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint"}
    shutil.rmtree(checkpoint)
