"""`tfm export` as a command: exit codes, messages, the report."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from tfm.runtime import Translator
from tfm.runtime.commands.cli import cli
from tfm.runtime.config import ModelConfig
from tfm.trainer import checkpoint as files


def run_export(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["export", *map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "model"], "'nowhere' does not exist"),
        ([".", "model", "--variant", "int3"], "'int3' is not one of"),
        ([".", "model", "--limit", "0"], "0 is not in the range"),
        ([".", "model", "--sentences", "nowhere"], "'nowhere' does not exist"),
        (["."], "Missing argument 'MODEL_FOLDER'"),
    ],
)
def test_usage(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, stdout, stderr = run_export(*arguments)
    assert (status, stdout) == (2, "")
    assert message in stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not found; name sentences to verify on with --sentences"),
        (b"", "holds no sentence to verify on"),
        (b"\n \n\n", "holds no sentence to verify on"),
        (b"\xff\xfe", "line 1 is not UTF-8"),
        ("一\tone\n".encode(), "config.json: not found; is this a checkpoint"),
    ],
)
def test_one_line_of_error(content: bytes | None, message: str, tmp_path: Path) -> None:
    checkpoint, model = tmp_path / "checkpoint", tmp_path / "model"
    checkpoint.mkdir()
    if content is not None:
        (checkpoint / files.VALIDATION).write_bytes(content)
    status, stdout, stderr = run_export(checkpoint, model)
    assert (status, stdout) == (1, "")
    assert message in stderr
    assert stderr.startswith("Error: ")
    assert stderr.count("\n") == 1
    assert not model.exists()


def test_a_checkpoint_is_not_overwritten(toy_checkpoint: Path, tmp_path: Path) -> None:
    """Another than the one to export."""
    other = tmp_path / "other"
    other.mkdir()
    (other / files.LAST).touch()
    status, _, stderr = run_export(toy_checkpoint, other)
    assert (status, stderr) == (
        1,
        f"Error: {other} is a checkpoint: choose another folder for the model\n",
    )
    assert [path.name for path in other.iterdir()] == [files.LAST]


def test_a_damaged_checkpoint(toy_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint, model = tmp_path / "checkpoint", tmp_path / "model"
    ignore = shutil.ignore_patterns("last*", "best*", "average*", "recent")
    shutil.copytree(toy_checkpoint, checkpoint, ignore=ignore)
    weights = checkpoint / files.MODEL
    weights.write_bytes(weights.read_bytes()[:1000])
    status, _, stderr = run_export(checkpoint, model)
    assert status == 1
    assert f"{weights}: damaged" in stderr
    weights.unlink()
    assert f"{weights}: not found" in run_export(checkpoint, model)[2]
    assert not model.exists()


def test_the_toys_proof(toy_model: Path) -> None:
    variants = json.loads((toy_model / "verify.json").read_text("utf-8"))["variants"]
    assert set(variants) == {"fp32", "int8"}
    for name, report in variants.items():
        assert report["failures"] == []
        assert report["alone_equals_batched"] >= 0.98
        assert report["greedy"]["sentences"] == report["beam"]["sentences"] == 100
        assert report["scores"]["bleu"] > 50
        if name == "fp32":
            assert report["greedy"]["equal"] + report["greedy"]["ties"] == 100
            assert report["beam"]["equal"] + report["beam"]["ties"] == 100
            assert max(report["max_abs_diff"].values()) < 1e-4
    assert max(variants["int8"]["max_abs_diff"].values()) > 1e-4


def test_capitals_are_folded_by_the_runtime_and_by_its_proof(
    toy_checkpoint: Path, tmp_path: Path
) -> None:
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("三百二十一\nTHREE HUNDRED TWENTY ONE\n", "utf-8")
    arguments = [toy_checkpoint, tmp_path / "model", "--variant", "fp32", "--fold-capitals"]
    status, _, stderr = run_export(*arguments, "--sentences", sentences)
    assert status == 0, stderr
    assert ModelConfig.load(tmp_path / "model").fold_capitals
    report = json.loads((tmp_path / "model" / "verify.json").read_text("utf-8"))
    assert report["variants"]["fp32"]["failures"] == []
    with Translator(tmp_path / "model", device="cpu") as translator:
        lengths = map(translator.source_length, ("THREE HUNDRED", "Three hundred"))
        assert len(set(lengths)) == 1
