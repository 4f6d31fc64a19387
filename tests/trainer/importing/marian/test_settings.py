"""Which of Marian's settings are computed here, and how the others are refused."""

from pathlib import Path
from typing import Any

import pytest
from helpers import marian
from helpers.command import tfm
from helpers.marian import PRE_NORM, SETTINGS, SSRU

from tfm.trainer.errors import TrainError
from tfm.trainer.importing.marian.settings import read_settings
from tfm.trainer.importing.yaml_text import read_yaml_mapping


def read(**changed: Any) -> Any:
    settings = SETTINGS | {key.replace("_", "-"): value for key, value in changed.items()}
    return read_settings(read_yaml_mapping(marian.yaml_of(settings).encode(), "model.yml"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"type": "s2s"}, "type is 's2s': supported is 'transformer'"),
        (
            {"transformer-ffn-activation": "tanh"},
            "'tanh': supported is 'relu' or 'swish'",
        ),
        ({"transformer-ffn-depth": 3}, "transformer-ffn-depth is '3': supported is '2'"),
        ({"transformer-decoder-ffn-depth": 1}, "transformer-decoder-ffn-depth is '1'"),
        ({"transformer-no-projection": True}, "transformer-no-projection is 'true'"),
        ({"transformer-train-position-embeddings": True}, "position-embeddings is 'true'"),
        ({"transformer-attention-mask": "alibi"}, "transformer-attention-mask is 'alibi'"),
        ({"transformer-decoder-autoreg": "average-attention"}, "autoreg is 'average-attention'"),
        (
            {**SSRU, "dec-cell": "lstm"},
            "dec-cell is 'lstm': with transformer-decoder-",
        ),
        ({**SSRU, "transformer-rnn-projection": True}, "transformer-rnn-projection is 'true'"),
        ({"transformer-preprocess": "d"}, None),
        ({"transformer-preprocess": "n"}, "preprocess 'n', postprocess 'dan'"),
        ({**PRE_NORM, "transformer-postprocess-top": ""}, "postprocess-top '': supported are"),
        ({"transformer-postprocess": "dhn"}, "postprocess 'dhn'"),
        ({"transformer-postprocess": "dar"}, "postprocess 'dar'"),
        ({"transformer-postprocess-emb": "nd"}, "transformer-postprocess-emb is 'nd'"),
        ({"transformer-tied-layers": [1]}, "transformer-tied-layers is ['1']: a number for each"),
        ({"transformer-tied-layers": [0, 1]}, "'0': a whole number of at least 1 is needed"),
        ({"right-left": True}, "right-left is 'true'"),
        ({"ulr": True}, "ulr is 'true'"),
        ({"lemma-dim-emb": 64}, "lemma-dim-emb is '64'"),
        ({"layer-normalization": True}, "layer-normalization is 'true'"),
        ({"input-types": ["sequence", "class"]}, "input-types is ['sequence', 'class']"),
        ({"dim-emb": "x"}, "dim-emb is 'x': a whole number of at least 1 is needed"),
        ({"enc-depth": -1}, "enc-depth is '-1'"),
        ({"transformer-heads": "9" * 30}, "a whole number of at least 1 is needed"),
        ({"tied-embeddings": "maybe"}, "tied-embeddings is 'maybe': true or false is needed"),
    ],
)
def test_a_setting_is_named_with_its_value(changed: dict[str, Any], message: str | None) -> None:
    if message is None:
        read(**changed)
        return
    with pytest.raises(TrainError) as caught:
        read(**changed)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_does_not_change_translations_is_taken() -> None:
    harmless = {
        "transformer-depth-scaling": True,
        "guided-alignment": "x",
        "dim-rnn": 7,
        "skip": True,
    }
    assert read(**harmless) == read()


def test_a_setting_that_is_missing() -> None:
    with pytest.raises(TrainError, match="dim-emb is None: a whole number"):
        read_settings({"type": "transformer", "transformer-dim-ffn": "8", "dec-depth": "1"})


def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    path = marian.write_marian(tmp_path / "theirs", changed={"type": "amun"})
    out = tmp_path / "out"
    status, stdout, stderr = tfm("import", str(path.parent / "decoder.yml"), str(out))
    assert (status, stdout) == (1, "")
    assert stderr == f"Error: {path}: type is 'amun': supported is 'transformer'\n"
    assert not out.exists()
