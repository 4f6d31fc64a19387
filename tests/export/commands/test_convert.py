"""`tfm convert` as a command: what it refuses."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from helpers.command import python
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


@pytest.mark.parametrize("to", ["ctranslate2", "transformers"])
def test_ssru_is_refused_in_one_line(
    to: str, tiny_model: Transformer, tiny_vocabulary: Vocabulary, tmp_path: Path
) -> None:
    config = dataclasses.replace(tiny_model.config, decoder_autoregression="ssru")
    checkpoint = save(Transformer(config), tiny_vocabulary, tmp_path / "checkpoint")
    result = convert(checkpoint, tmp_path / "out", "--to", to)
    name = {"ctranslate2": "CTranslate2"}.get(to, to)
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: {name} has no SSRU decoders, and this model's decoder_autoregression is 'ssru': "
        "convert a model whose decoder has attention\n",
    )
    assert not (tmp_path / "out").exists()


def test_ort_is_of_model_folders_and_needs_no_torch(
    tiny_model: Transformer, tiny_vocabulary: Vocabulary, tiny_folder: Path, tmp_path: Path
) -> None:
    checkpoint = save(tiny_model, tiny_vocabulary, tmp_path / "checkpoint")
    result = convert(checkpoint, tmp_path / "out", "--to", "ort")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {checkpoint} is a checkpoint, not a model folder: ")
    done = python(
        "import sys\n"
        "sys.modules.update(torch=None, onnx=None)\n"
        "from tfm.runtime.commands.cli import cli\n"
        f"cli(['convert', {str(tiny_folder)!r}, {str(tmp_path / 'out')!r}, '--to', 'ort'])\n"
    )
    assert (done.returncode, done.stderr) == (0, f"wrote {tmp_path / 'out'}\n")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("translate.ort", "score.ort", "source.spm", "target.spm", "model.json"),
        "required_operators_and_types.config",
    }
