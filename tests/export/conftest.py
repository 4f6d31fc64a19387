"""What several files of the export's tests need: a test set, and no model in the environment."""

from pathlib import Path

import pytest
from helpers.numerals import chinese, english


@pytest.fixture(scope="session")
def test_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two corpora; in the second the references are wrong now and then."""
    path = tmp_path_factory.mktemp("evaluate") / "test.tsv"
    lines = []
    for i, number in enumerate(range(40, 9999, 251)):
        corpus = ("first", "second")[i % 2]
        reference = english(number + (i % 4 == 1))
        lines.append(f"{chinese(number)}\t{reference}\t{corpus}\n")
    path.write_text("".join(lines), "utf-8")
    return path


@pytest.fixture(scope="session")
def columns(test_set: Path) -> list[list[str]]:
    """Sources, references and corpora of test_set."""
    rows = [line.split("\t") for line in test_set.read_text("utf-8").splitlines()]
    return [list(column) for column in zip(*rows, strict=True)]


@pytest.fixture(autouse=True)
def no_model_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TFM_MODEL", raising=False)
