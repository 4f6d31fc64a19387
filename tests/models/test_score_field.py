"""Scores of made-up translators whose results are known beforehand, and the command."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner
from helpers.field_scores import (
    FieldSystem,
    read_dev,
    score_changed_input,
    score_system,
    tables,
)
from helpers.field_sets import FOLDER, read_copies, read_names, read_phrases
from helpers.paths import ROOT

ROWS = [*read_names(), *read_copies(), *read_phrases()]
DIRECTIONS = [("zh", "en"), ("en", "zh")]


def made_up(source: str, target: str, translate: Callable[[str], str]) -> FieldSystem:
    return FieldSystem(
        f"{source}-{target}", source, target, lambda texts: [translate(text) for text in texts]
    )


def knows_all(source: str, target: str) -> FieldSystem:
    known = {row.sentence(source): row.sentence(target) for row in ROWS}
    return made_up(source, target, known.__getitem__)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    # Not by its name: `models` is the folder of the models, too.
    spec = importlib.util.spec_from_file_location("score_field", FOLDER / "score_field.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


@pytest.mark.parametrize(("source", "target"), DIRECTIONS)
def test_the_references_have_all_points(source: str, target: str) -> None:
    scores = score_system(knows_all(source, target))
    for shares in (scores.names, scores.whole, scores.copies, scores.phrases):
        assert set(shares.values()) == {1.0}
    assert scores.wrong == []


@pytest.mark.parametrize(("source", "target"), DIRECTIONS)
def test_who_only_copies_has_the_copies_and_nothing_else(source: str, target: str) -> None:
    scores = score_system(made_up(source, target, str))
    assert scores.copies["all"] == scores.whole["all"] == 1
    assert scores.names["all"] == scores.phrases["all"] == 0
    assert len(scores.wrong) == 600


def test_who_says_all_twice_has_the_items_but_not_once() -> None:
    scores = score_system(made_up("zh", "en", lambda text: f"{text} {text}"))
    assert scores.whole["all"] == 1
    assert scores.copies["all"] == 0


def test_shares_are_by_kind_and_of_all_sentences() -> None:
    known = {row.chinese: row.english for row in read_names() if row.kind == "country"}
    first = {row.chinese: row.english for row in read_phrases()[:10]}
    scores = score_system(made_up("zh", "en", lambda text: (known | first).get(text, "")))
    assert scores.names["country"] == 1
    assert scores.names["city"] < 0.1
    assert scores.names["all"] == pytest.approx(90 / 500)
    assert scores.phrases == {"first 20": 0.5, "all": 0.1}
    assert scores.wrong[0].reference == read_names()[0].english


def test_the_tables_have_a_column_for_each_system() -> None:
    systems = [knows_all("zh", "en"), made_up("en", "zh", str)]
    lines = tables([score_system(system) for system in systems]).splitlines()
    assert lines[0] == "| names | sentences | zh-en | en-zh |"
    assert "| all | 500 | 100.0 | 0.0 |" in lines
    assert "| url | 34 | 100.0 | 100.0 | 100.0 | 100.0 |" in lines
    assert lines[-2:] == ["| first 20 | 20 | 100.0 | 0.0 |", "| all | 100 | 100.0 | 0.0 |"]


def test_changed_input_is_scored_beside_the_input_as_it_is() -> None:
    system = made_up("en", "zh", {"one": "一二三四五六", "two": "七八九十百千"}.get)
    pairs = [("one", "一二三四五六"), ("two", "七八九十百千")]
    assert score_changed_input(system, pairs, str) == (100, 100)
    swap = {"one": "two", "two": "one"}.__getitem__
    assert score_changed_input(system, pairs, swap) == (100, 0)


def test_a_development_set_is_read_source_first_and_spread(tmp_path: Path) -> None:
    path = tmp_path / "dev.tsv"
    path.write_text("".join(f"中{i}\ten{i}\tcorpus\n" for i in range(10)), "utf-8")
    assert read_dev(path, "zh", 2) == [("中0", "en0"), ("中5", "en5")]
    assert read_dev(path, "en", 1) == [("en0", "中0")]
    path.write_text("中\ten\nnothing else\n", "utf-8")
    with pytest.raises(ValueError, match="line 2: no tab"):
        read_dev(path, "zh", 2)


def test_the_command_scores_a_folder(script: ModuleType, tmp_path: Path) -> None:
    wrong, dev = tmp_path / "wrong.tsv", tmp_path / "dev.tsv"
    dev.write_text("我爱你。\tI love you.\n", "utf-8")
    arguments = [ROOT / "models" / "en-zh", "--beam-size", 1, "--dev", dev, "--wrong", wrong]
    result = CliRunner().invoke(script.command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("| names | sentences | en-zh |\n")
    assert result.stdout.splitlines()[-1].startswith("en-zh, 1 sentences of dev.tsv: chrF ")
    cells = wrong.read_text("utf-8").splitlines()[0].split("\t")
    assert cells[:2] == ["en-zh", "names"]
    assert len(cells) == 5


def test_a_folder_of_other_languages_is_refused(script: ModuleType, tmp_path: Path) -> None:
    model = ROOT / "models" / "zh-en"
    for path in model.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "config.json").unlink()
    config = json.loads((model / "config.json").read_text("utf-8"))
    config["languages"]["target"] = "de"
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    result = CliRunner().invoke(script.command, [str(tmp_path)])
    assert result.exit_code == 1
    assert "translates zh to de" in result.output
