"""`tfm convert --to checkpoint`: from the graphs back to the weights they were made of."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from helpers.models import MakeModel
from helpers.paths import ROOT

from tfm.export.formats.read_model_folder import CHECKPOINT_FILE, unpack
from tfm.export.graphs.trace import convert
from tfm.export.model_folder import write_model_folder
from tfm.runtime.commands.cli import cli
from tfm.trainer.checkpoint import load_checkpoint, weights_of
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer


@pytest.mark.parametrize(
    "options",
    [
        {"tied_embeddings": "none"},
        {"tied_embeddings": "target", "norm": "pre"},
        {"tied_embeddings": "all", "output_bias": True, "activation": "swish"},
        {"tied_embeddings": "none", "output_bias": True, "suppress_ids": (7,), "norm": "pre"},
        {"decoder_autoregression": "ssru"},
    ],
)
def test_fp32_gives_the_weights_back(
    options: dict[str, Any], make_model: MakeModel, tiny_vocabulary: Vocabulary, tmp_path: Path
) -> None:
    one = tiny_vocabulary.source
    vocabulary = Vocabulary(one, one)
    sizes = {"source_vocab_size": one.vocab_size(), "target_vocab_size": one.vocab_size()}
    shape = {"d_model": 32, "d_ff": 48, "num_heads": 2, "encoder_layers": 2, "decoder_layers": 2}
    model = make_model(seed=4, **sizes, **shape, **options)
    write_model_folder(model, vocabulary, convert(model), tmp_path, ("fp32",), "some")
    found, read = unpack(tmp_path)
    assert found.config.d_ff == 48 and read.source.vocab_size() == one.vocab_size()
    ours, theirs = weights_of(found), weights_of(model)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        expected = tensor
        if name == "projection.bias":  # what is forbidden has none
            expected = tensor.index_fill(0, torch.tensor(options.get("suppress_ids", ())).long(), 0)
        torch.testing.assert_close(ours[name], expected, rtol=1e-6, atol=1e-7)


def test_int8_gives_the_rounded_weights_back(
    tiny_folder: Path, tiny_model: Transformer, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text("utf-8"))
    del config["variants"]["fp32"]
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    out = tmp_path / "checkpoint"
    result = CliRunner().invoke(cli, ["convert", str(folder), str(out), "--to", "checkpoint"])
    assert result.exit_code == 0, result.output
    found, vocabulary = load_checkpoint(out)
    assert found.config == tiny_model.config
    ours, theirs = weights_of(found), weights_of(tiny_model)
    for name, tensor in theirs.items():
        if tensor.dim() == 1:
            torch.testing.assert_close(ours[name], tensor, rtol=1e-5, atol=1e-6)
        else:
            step = tensor.abs().amax(dim=1, keepdim=True) / 127
            assert ((ours[name] - tensor).abs() <= 1.2 * step).all(), name
            assert not torch.equal(ours[name], tensor)
    assert vocabulary.source.vocab_size() == found.config.source_vocab_size
    (folder / CHECKPOINT_FILE).unlink()
    again = CliRunner().invoke(cli, ["convert", str(folder), f"{out}2", "--to", "checkpoint"])
    assert again.exit_code == 1
    assert f"{folder} has no {CHECKPOINT_FILE}: an older tfm exported it" in again.stderr


def test_the_bundled_model_can_be_fine_tuned(tmp_path: Path) -> None:
    bundled = ROOT / "models" / "zh-en"
    if not (bundled / "config.json").exists():
        pytest.skip("no bundled model yet")
    model, vocabulary = unpack(bundled)
    ids = torch.tensor(vocabulary.encode_source(["我爱你。"], model.config))
    assert "love you" in vocabulary.decode_target(model.greedy(ids, 10)[0])
