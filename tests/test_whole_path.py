"""tfm train, tfm export, tfm run: the toy task from nothing to translations it never saw."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from helpers.numerals import chinese, english

from tfm.runtime.commands.cli import cli
from tfm.trainer import checkpoint as files

if TYPE_CHECKING:
    from helpers.models import Toy, ToyExport


def test_training_leaves_a_checkpoint(toy: "Toy") -> None:
    names = {path.name for path in toy.checkpoint.iterdir()}
    wanted = {files.CONFIG, files.MODEL, files.BEST, files.AVERAGE, files.LAST, files.RECIPE,
              files.METRICS, files.VALIDATION, "source.spm", "target.spm"}  # fmt: skip
    assert wanted <= names
    assert toy.trained.stdout == ""
    assert f"next: tfm export {toy.checkpoint} MODEL_FOLDER" in toy.trained.stderr


def test_export_says_what_it_verified(toy_export: "ToyExport") -> None:
    header, *rows = toy_export.exported.stdout.splitlines()
    assert header.split("  ")[0] == "variant"
    cells = {row.split()[0]: row.split() for row in rows}
    assert set(cells) == {"int8", "fp32"}
    assert cells["fp32"][2:5] == ["100/100", "100/100", "100.0%"]
    assert float(cells["fp32"][1]) < 1e-4 < float(cells["int8"][1])
    assert f"tfm run -m {toy_export.folder}" in toy_export.exported.stderr


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_unseen_numbers(toy: "Toy", toy_model: Path, variant: str, tmp_path: Path) -> None:
    source, target = tmp_path / "numbers.zh", tmp_path / "numbers.en"
    source.write_text("".join(f"{chinese(n)}\n" for n in toy.unseen), "utf-8")
    arguments = ["run", "-m", str(toy_model), "--variant", variant, "--beam-size", "1"]
    result = CliRunner().invoke(cli, [*arguments, "-i", str(source), "-o", str(target)])
    assert (result.exit_code, result.output) == (0, "")
    found = target.read_text("utf-8").splitlines()
    right = [a == english(n) for a, n in zip(found, toy.unseen, strict=True)]
    assert sum(right) >= 0.95 * len(right)


def test_info(toy_model: Path) -> None:
    result = CliRunner().invoke(cli, ["info", str(toy_model)])
    assert result.exit_code == 0
    for part in ("zh -> en", "2+2 layers", "d_model 64", "variant int8", "variant fp32"):
        assert part in result.stdout
