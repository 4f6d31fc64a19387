"""Models that are chosen by name."""

from pathlib import Path

import pytest
from helpers.command import tfm

from tfm.runtime import Translator
from tfm.runtime.bundled import BUNDLED_MODELS, bundled_model, find_model
from tfm.runtime.errors import ModelError


@pytest.mark.parametrize(
    ("model", "source", "target"),
    [(None, "zh", "en"), ("zh-en", "zh", "en"), ("en-zh", "en", "zh")],
)
def test_bundled_models_have_names(
    model: str | None, source: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    languages = Translator(model, intra_threads=1).config.languages
    assert (languages.source, languages.target) == (source, target)


def test_a_folder_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_model("en-zh") == bundled_model("en-zh")
    assert find_model("./en-zh") == Path("en-zh")
    Path("en-zh").mkdir()
    assert find_model("en-zh") == Path("en-zh")
    with pytest.raises(ModelError, match=r"en-zh has no config\.json"):
        Translator("en-zh")


def test_the_default_is_the_first() -> None:
    assert find_model(None) == bundled_model(BUNDLED_MODELS[0])


@pytest.mark.parametrize("arguments", [("run", "-m", "en-fr", "x"), ("info", "en-fr")])
def test_an_unknown_name_is_told_the_known_ones(arguments: tuple[str, ...]) -> None:
    status, _, stderr = tfm(*arguments)
    assert status == 2
    assert "en-fr" in stderr
    assert "The bundled models are zh-en and en-zh." in " ".join(stderr.split())


def test_commands_take_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "en-zh" in tfm("info", "en-zh")[1]
    assert "爱" in tfm("run", "-m", "en-zh", "I love you.")[1]
    monkeypatch.setenv("TFM_MODEL", "en-zh")
    assert "爱" in tfm("run", "I love you.")[1]
    Path("pairs.tsv").write_text("I love you.\t我爱你。\n", "utf-8")
    assert tfm("evaluate", "en-zh", "pairs.tsv")[0] == 0
    assert tfm("convert", "en-zh", "out", "--to", "checkpoint")[0] == 0
