"""What an imported model's own settings become."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tfm.export.decoding_defaults import WITHOUT_OPTION, decoding_defaults
from tfm.export.errors import ExportError
from tfm.runtime.commands.cli import cli
from tfm.runtime.options import DecodingOptions
from tfm.trainer.checkpoint import ORIGIN


def imported(folder: Path, generation: Any, config: Any = None) -> Path:
    """A checkpoint whose origin has these files; texts are written as they are."""
    (folder / ORIGIN).mkdir()
    for name, tree in (("generation_config.json", generation), ("config.json", config)):
        if tree is not None:
            text = tree if isinstance(tree, str) else json.dumps(tree)
            (folder / ORIGIN / name).write_text(text, "utf-8")
    return folder


def test_a_checkpoint_trained_here_has_neutral_options(tmp_path: Path) -> None:
    assert decoding_defaults(tmp_path) == DecodingOptions()


def test_settings_become_options(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    generation = {
        "num_beams": 6,
        "length_penalty": 0.7,
        "repetition_penalty": 1.2,
        "no_repeat_ngram_size": 3,
        "suppress_tokens": [5, 9],
        "max_length": 200,
        "min_length": 7,
        "do_sample": False,
        "begin_suppress_tokens": None,
    }
    assert decoding_defaults(imported(tmp_path, generation)) == DecodingOptions(
        beam_size=6,
        length_penalty=0.7,
        repetition_penalty=1.2,
        no_repeat_ngram_size=3,
        suppress_ids=(5, 9),
        max_length=199,
        min_length=5,
    )
    assert caplog.text == ""


def test_lengths_without_the_first_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    generation = {"max_length": 200, "max_new_tokens": 50, "min_length": 9, "min_new_tokens": 4}
    expected = DecodingOptions(max_length=50, min_length=3)
    assert decoding_defaults(imported(tmp_path, generation)) == expected
    assert caplog.text == ""


def test_generation_config_has_precedence_over_config(tmp_path: Path) -> None:
    folder = imported(tmp_path, {"num_beams": 2}, {"num_beams": 5, "length_penalty": 0.5})
    assert decoding_defaults(folder) == DecodingOptions(beam_size=2, length_penalty=0.5)


@pytest.mark.parametrize("name", WITHOUT_OPTION)
def test_what_has_no_option_is_named(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert decoding_defaults(imported(tmp_path, {name: 7})) == DecodingOptions()
    assert caplog.messages == [f"the imported model's {name} = 7 is not carried over"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_beams", 0),
        ("num_beams", "four"),
        ("length_penalty", -1.0),
        ("suppress_tokens", [-1]),
        ("max_length", "long"),
        ("max_length", 1),
        ("min_length", 1000),
    ],
)
def test_a_malformed_value_is_left_out(
    name: str, value: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = imported(tmp_path, {name: value, "repetition_penalty": 1.5})
    assert decoding_defaults(folder) == DecodingOptions(repetition_penalty=1.5)
    (message,) = caplog.messages
    assert message.startswith(f"the imported model's {name} = {value} is not carried over: ")


@pytest.mark.parametrize(
    ("content", "message"), [("{", "not JSON: "), ("[1]", "not a JSON object; import")]
)
def test_a_damaged_file_is_one_line_of_error(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=rf"generation_config\.json: {message}") as error:
        decoding_defaults(imported(tmp_path, content))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--min-length", "9", "--max-length", "5"], "--min-length 9 is more than --max-length 5"),
        (["--suppress-ids", "99999"], "--suppress-ids has 99999: the model's tokens are 0 to"),
        (["--n-best", "2"], "No such option"),
    ],
)
def test_options_that_no_translation_could_use(
    toy_checkpoint: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    model = tmp_path / "model"
    result = CliRunner().invoke(cli, ["export", str(toy_checkpoint), str(model), *arguments])
    assert result.exit_code == 2
    assert message in result.stderr
    assert not model.exists()


def test_ids_beyond_the_vocabulary_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = imported(tmp_path, {"suppress_tokens": [5, 99999]})
    assert decoding_defaults(folder, 1000) == DecodingOptions()
    assert "suppress_tokens = [5, 99999] is not carried over" in caplog.text
