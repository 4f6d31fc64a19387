"""DecodingOptions: ranges, types, changes; and all that is derived from a field."""

import dataclasses
import json
import math
import re
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from helpers.paths import ROOT
from numpy.typing import NDArray

from tfm.runtime import processors
from tfm.runtime.commands.options import decoding_options
from tfm.runtime.files.schema import load_dataclass
from tfm.runtime.options import (
    DecodingOptions,
    declared_options,
    markdown_table,
    option,
)
from tfm.runtime.processors import LogitsProcessor, SearchContext, processors_for
from tfm.runtime.route import choose_route

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"beam_size": 0}, "beam_size is 0: it must be at least 1"),
    ({"beam_size": 2.0}, "beam_size is 2.0: it must be a whole number"),
    ({"beam_size": True}, "beam_size is True: it must be a whole number"),
    ({"beam_size": "4"}, "beam_size is '4': it must be a whole number"),
    ({"num_hypotheses": 0}, "num_hypotheses is 0: it must be at least 1"),
    ({"num_hypotheses": 5}, "num_hypotheses 5 is more than beam_size 4: raise beam_size"),
    ({"max_length": 0}, "max_length is 0: it must be at least 1"),
    ({"max_length_factor": -1}, "max_length_factor is -1: it must be at least 0"),
    ({"suppress_texts": "no"}, "suppress_texts is 'no': it must be a sequence of texts"),
    ({"suppress_texts": ("a", 3)}, "suppress_texts is 3: it must be text"),
    ({"suppress_texts": ("a", " ")}, "suppress_texts has ' ': a text must be more than spaces"),
    ({"suppress_unk": 1}, "suppress_unk is 1: it must be True or False"),
    ({"length_penalty": -1.0}, "length_penalty is -1.0: it must be at least 0"),
    ({"length_penalty": math.nan}, "length_penalty is nan: it must be finite"),
    ({"length_penalty": math.inf}, "length_penalty is inf: it must be finite"),
    ({"length_penalty": None}, "length_penalty is None: it must be a number"),
    ({"patience": 0}, "patience is 0: it must be more than 0"),
    ({"min_length": -1}, "min_length is -1: it must be at least 0"),
    ({"min_length": 9, "max_length": 8}, "min_length 9 is more than max_length 8"),
    ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0: it must be at least 0.001"),
    ({"no_repeat_ngram_size": -2}, "no_repeat_ngram_size is -2: it must be at least 0"),
    ({"suppress_ids": (3, -1)}, "suppress_ids is -1: it must be at least 0"),
    ({"suppress_ids": "34"}, "suppress_ids is '34': it must be a sequence of token ids"),
    ({"suppress_ids": 3}, "suppress_ids is 3: it must be a sequence of token ids"),
    ({"max_length": 2**31}, "max_length is 2147483648: it must be at most 2147483647"),
    ({"length_penalty": 10**400}, "it must be finite"),
    ({"suppress_ids": b"ab"}, "suppress_ids is b'ab': it must be a sequence of token ids"),
    ({"target_prefix": "\ud800"}, "it is not UTF-8"),
    ({"target_prefix": b"x"}, "target_prefix is b'x': it must be text"),
    ({"temperature": -1}, "temperature is -1: it must be at least 0"),
    ({"temperature": 1, "top_k": -1}, "top_k is -1: it must be at least 0"),
    ({"temperature": 1, "top_p": 0}, "top_p is 0: it must be more than 0"),
    ({"temperature": 1, "top_p": 1.5}, "top_p is 1.5: it must be at most 1"),
    ({"temperature": 1, "seed": -1}, "seed is -1: it must be at least 0"),
    ({"top_k": 5}, "top_k 5 is for sampling: set temperature above 0"),
    ({"top_p": 0.5}, "top_p 0.5 is for sampling: set temperature above 0"),
    ({"seed": 3}, "seed 3 is for sampling: set temperature above 0"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_what_is_wrong_is_said(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        DecodingOptions(**wrong)


def test_every_option_has_a_wrong_value_above() -> None:
    assert {name for name, _, _ in declared_options()} <= {key for w, _ in WRONG for key in w}


def test_numpy_numbers_become_plain_ones() -> None:
    options = DecodingOptions(
        beam_size=np.int64(3), length_penalty=np.float32(0.5), suppress_ids=np.array([7, 8])
    )
    assert options == DecodingOptions(beam_size=3, length_penalty=0.5, suppress_ids=(7, 8))
    assert type(options.beam_size) is int
    assert type(options.suppress_ids[0]) is int


def test_none_changes_nothing_and_unknown_names_are_refused() -> None:
    options = DecodingOptions(beam_size=2)
    assert options.changed(beam_size=None, max_length=9) == DecodingOptions(
        beam_size=2, max_length=9
    )
    with pytest.raises(TypeError, match="no decoding option 'beams': the options are beam_size,"):
        options.changed(beams=3)


def test_options_without_changes_are_not_checked_again() -> None:
    options = DecodingOptions(beam_size=2)
    assert options.changed() is options
    assert options.changed(beam_size=None) is options
    assert options.changed(beam_size=2) == options


def test_more_hypotheses_widen_the_beam_unless_it_is_given() -> None:
    assert DecodingOptions().changed(num_hypotheses=7).beam_size == 7
    assert DecodingOptions().changed(num_hypotheses=2).beam_size == 4
    assert DecodingOptions(num_hypotheses=3).changed(beam_size=2).num_hypotheses == 2
    assert DecodingOptions(min_length=8).changed(max_length=5).min_length == 5
    with pytest.raises(ValueError, match="num_hypotheses is '5': it must be a whole number"):
        DecodingOptions().changed(num_hypotheses="5")
    with pytest.raises(ValueError, match="num_hypotheses 7 is more than beam_size 5"):
        DecodingOptions().changed(num_hypotheses=7, beam_size=5)


def from_json(tree: dict[str, Any], options: type[DecodingOptions] = DecodingOptions) -> object:
    """As config.json is read."""
    return load_dataclass(options, tree, unknown_keys="ignore")


def test_json_there_and_back() -> None:
    options = DecodingOptions(
        suppress_ids=(4, 5),
        suppress_texts=("a", "b"),
        suppress_unk=True,
        target_prefix="a",
        length_penalty=1,
    )
    text = json.dumps(dataclasses.asdict(options))
    assert from_json(json.loads(text)) == options
    # A file of an older tfm lacks options, one of a newer tfm has more.
    assert from_json({"beam_size": 2, "newer": 1}) == DecodingOptions(beam_size=2)


def test_readme_has_the_table_of_all_options() -> None:
    assert markdown_table() in (ROOT / "README.md").read_text("utf-8")


# What ARCHITECTURE.md shows: a new option is a field and its rule. This one bans odd ids.


@dataclass(frozen=True, slots=True, kw_only=True)
class WithNewOption(DecodingOptions):
    """All options, and one more."""

    even_only: int = option(
        0, low=0, processor="even_only", help="1 writes tokens with even ids only; 0 disables."
    )


def even_only(_value: int, _context: SearchContext) -> LogitsProcessor:
    def process(logits: NDArray[np.float32], _sequences: NDArray[np.int64]) -> NDArray[np.float32]:
        logits[:, :, 1::2] = -np.inf
        return logits

    return process


@pytest.fixture
def with_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(processors.PROCESSORS, "even_only", even_only)


def test_a_new_option_is_a_field_and_its_rule(with_rule: None) -> None:
    options = WithNewOption(even_only=1)
    context = SearchContext(eos_id=3, prefix_length=0)
    (process,) = processors_for(options, context)
    logits = process(np.zeros((1, 1, 6), np.float32), np.zeros((1, 1, 0), np.int64))
    assert np.isfinite(logits).tolist() == [[[True, False, True, False, True, False]]]
    assert processors_for(WithNewOption(), context) == []


def test_a_new_option_goes_by_steps_where_no_graph_has_it() -> None:
    offered = {name for name, _, spec in declared_options(WithNewOption) if spec.graph}
    assert choose_route(WithNewOption(beam_size=2), "cpu", offered).by_graph
    route = choose_route(WithNewOption(even_only=1), "cpu", offered)
    assert not route.by_graph
    assert route.reason == "step by step: translate.onnx does not support even_only"


def test_a_new_option_is_on_the_command_line_in_config_json_and_in_the_table() -> None:
    def show(decoding: dict[str, Any]) -> None:
        click.echo(json.dumps(decoding))

    command = click.command()(decoding_options(show, WithNewOption))
    run = CliRunner().invoke
    given = run(command, ["--even-only", "1", "--beam-size", "3", "--suppress-ids", "5,6"])
    assert json.loads(given.output) == {"even_only": 1, "beam_size": 3, "suppress_ids": [5, 6]}
    assert "1 writes tokens with even ids only; 0 disables." in " ".join(
        run(command, ["--help"]).output.split()
    )
    wrong = run(command, ["--even-only", "-1"])
    assert (wrong.exit_code, "--even-only" in wrong.output) == (2, True)
    assert from_json({"even_only": 1}, WithNewOption) == WithNewOption(even_only=1)
    row = "| `even_only` | `--even-only` | 0 | 1 writes tokens with even ids only; 0 disables. |"
    assert markdown_table(WithNewOption) == f"{markdown_table()}\n{row}"
