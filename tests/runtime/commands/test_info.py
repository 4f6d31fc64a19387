"""`tfm info`: what a model is, in words and as JSON."""

import dataclasses
import json
from pathlib import Path

import pytest
from helpers.command import tfm

from tfm.runtime.options import DecodingOptions


def test_info_of_a_folder_that_is_no_model(tmp_path: Path) -> None:
    status, stdout, stderr = tfm("info", str(tmp_path))
    assert (status, stdout) == (1, "")
    assert stderr == (
        f"Error: {tmp_path} has no config.json: expected a folder written by `tfm export`\n"
    )


def test_the_model_may_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFM_MODEL", str(tmp_path))
    assert f"{tmp_path} has no config.json" in tfm("info")[2]


def test_info_of_a_model(tmp_path: Path) -> None:
    entry = {"path": "x", "size": 500_000, "sha256": "0" * 64}
    graphs = ("encoder", "decoder", "compact", "translate", "greedy", "score")
    variant = {**dict.fromkeys(graphs, entry), "weights": {**entry, "size": 600_000}}
    config = {
        "format_version": 4,
        "name": "little",
        "architecture": {
            "d_model": 64,
            "d_ff": 128,
            "num_heads": 2,
            "encoder_layers": 3,
            "decoder_layers": 1,
            "source_vocab_size": 100,
            "target_vocab_size": 200,
            "norm": "pre",
            "decoder_autoregression": "attention",
            "positions": "paper",
            "first_position": 0,
            "parameters": 1_250_000,
        },
        "languages": {"source": "zh", "target": "en", "language_token": "none", "language_ids": {}},
        "special_ids": {"bos_id": 1, "eos_id": 2, "pad_id": 3, "unk_id": 0},
        "max_source_length": 512,
        "decoding": {**dataclasses.asdict(DecodingOptions()), "suppress_ids": [7]},
        "tokenizer": {"source": entry, "target": entry},
        "variants": {"int8": variant, "fp32": variant},
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")

    status, stdout, _ = tfm("info", str(tmp_path))
    assert status == 0
    for part in (
        "little",
        "zh -> en",
        "3+1 layers",
        "pre-norm",
        "1.2 M",
        "3.6 MB",
        "beam_size 4",
        "suppress_ids [7]",
        "512 tokens",
        "int8 on c",
    ):
        assert part in stdout

    status, stdout, _ = tfm("info", "--json", str(tmp_path))
    facts = json.loads(stdout)
    assert facts["runs_here"]["variant"] in {"int8", "fp32"}
    assert {key: facts[key] for key in config} == json.loads(json.dumps(config))
