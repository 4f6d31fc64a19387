"""`tfm convert` of a model folder: the same model comes out, or an error."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.command import tfm
from helpers.models import MakeModel

from tfm.export.formats.read_model_folder import CHECKPOINT_FILE, unpack
from tfm.export.graphs.trace import convert
from tfm.export.model_folder import write_model_folder
from tfm.trainer.checkpoint import weights_of
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer

SHAPE = {"d_model": 16, "d_ff": 24, "num_heads": 2, "encoder_layers": 2, "decoder_layers": 2}


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


@torch.no_grad()
def as_initialized(model: Transformer) -> None:
    """Biases zero and norms one, as a model is that was hardly trained."""
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            parameter.fill_(1.0 if "norm.weight" in name else 0.0)


@torch.no_grad()
def repeat_a_layer(model: Transformer) -> None:
    """Layers that share their weights are equal tensors."""
    for layers in (model.encoder, model.decoder):
        layers[1].load_state_dict(layers[0].state_dict())
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.fill_(0.5)


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (as_initialized, {"norm": "post", "output_bias": True}),
        (repeat_a_layer, {"norm": "pre", "tied_embeddings": "none", "suppress_ids": (5,)}),
    ],
)
def test_equal_and_zero_weights_come_back(
    change: Callable[[Transformer], None],
    options: dict[str, Any],
    make_model: MakeModel,
    tiny_vocabulary: Vocabulary,
    tmp_path: Path,
) -> None:
    sizes = (tiny_vocabulary.source.vocab_size(), tiny_vocabulary.target.vocab_size())
    model = make_model(
        seed=4, source_vocab_size=sizes[0], target_vocab_size=sizes[1], **SHAPE, **options
    )
    change(model)
    sources = tiny_vocabulary.encode_source(["一百零三", "二", "九千"], model.config)
    write_model_folder(
        model, tiny_vocabulary, convert(model), tmp_path, ("fp32", "int8"), "some", sources
    )
    assert_weights(tmp_path, model, exact=True)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    del config["variants"]["fp32"]
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    assert_weights(tmp_path, model, exact=False)


def assert_weights(folder: Path, model: Transformer, *, exact: bool) -> None:
    found, _ = unpack(folder)
    ours, theirs = weights_of(found), weights_of(model)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        expected = tensor
        if name == "projection.bias":  # what is never written has none
            expected = tensor.index_fill(0, torch.tensor(model.config.suppress_ids).long(), 0)
        if exact or tensor.dim() == 1:
            torch.testing.assert_close(ours[name], expected, rtol=1e-5, atol=1e-6)
        else:
            step = tensor.abs().amax(dim=1, keepdim=True) / 127
            assert ((ours[name] - tensor).abs() <= 1.2 * step).all(), name


def edit(folder: Path, **changes: Any) -> None:
    tree = json.loads((folder / CHECKPOINT_FILE).read_text("utf-8"))
    (folder / CHECKPOINT_FILE).write_text(json.dumps(tree | changes), "utf-8")


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: flip_a_byte(f / "source.spm"), "source.spm is damaged"),
        (lambda f: flip_a_byte(f / "target.spm"), "target.spm is damaged"),
        (lambda f: (f / "target.spm").unlink(), "target.spm"),
        (lambda f: flip_a_byte(f / "fp32" / "weights.bin"), "weights.bin is damaged"),
        (lambda f: edit(f, activation="gelu"), "computes something else than the graphs"),
        (lambda f: edit(f, positions="marian"), "computes something else than the graphs"),
        (lambda f: edit(f, first_position=2), "computes something else than the graphs"),
        (lambda f: edit(f, scale_embeddings=False), "computes something else than the graphs"),
        (lambda f: edit(f, suppress_ids=[7]), "suppress different tokens"),
        (lambda f: edit(f, norm="pre"), "norm is 'pre', by config.json 'post'"),
        (lambda f: edit(f, num_heads=2), "num_heads is 2, by config.json 4"),
        (lambda f: edit(f, d_ff=10**9), "d_ff is 1000000000, by config.json 64"),
        (lambda f: edit(f, decoder_layers=1), "decoder_layers is 1, by config.json 2"),
        (lambda f: edit(f, eos_id=5), "eos_id is 5, by config.json 3"),
        (lambda f: edit(f, target_language="de"), "target_language is 'de'"),
    ],
)
def test_files_of_different_models_are_refused(
    damage: Callable[[Path], None], message: str, folder: Path, tmp_path: Path
) -> None:
    damage(folder)
    status, _, stderr = tfm("convert", str(folder), str(tmp_path / "out"), "--to", "checkpoint")
    (line,) = stderr.splitlines()
    assert status == 1 and message in line, line
    assert not (tmp_path / "out").exists()


def test_a_vocabulary_that_config_does_not_name_is_not_read(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    target = config["tokenizer"]["target"]
    shutil.copy(folder / "target.spm", folder / "other.spm")
    target["path"] = "other.spm"
    (folder / "target.spm").write_bytes(b"of another model")
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    status, _, stderr = tfm("convert", str(folder), str(tmp_path / "out"), "--to", "checkpoint")
    assert status == 0, stderr
    assert (tmp_path / "out" / "target.spm").read_bytes() == (folder / "other.spm").read_bytes()
