"""What `tfm import` and `tfm convert` read and copy of a folder that somebody else made."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.command import tfm
from safetensors.torch import load_file, save_file

from tfm.trainer.checkpoint import build_model
from tfm.trainer.errors import TrainError
from tfm.trainer.importing.files import TransformersFolder, read_origin
from tfm.trainer.model import Transformer

pytest.importorskip("transformers")

SECRET = '{"key": "value of a secret"}'


@pytest.fixture
def folder(marian_folder: Path) -> Path:
    return marian_folder


def assert_nowhere(text: str, folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert text.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    "name", ["added_tokens.json", "config.json", "source.spm", "model.safetensors", "vocab.json"]
)
def test_a_link_out_of_the_folder_is_not_followed(name: str, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret.json"
    if (folder / name).exists():
        shutil.move(folder / name, outside)
    else:
        outside.write_text(SECRET, "utf-8")
    (folder / name).symlink_to(outside)
    status, _, stderr = tfm("import", str(folder), str(tmp_path / "out"))
    assert status == 1
    (line,) = stderr.splitlines()
    assert f"{name} is a link to {outside}, outside the folder" in line
    assert not (tmp_path / "out").exists()


def test_only_what_was_read_is_copied(folder: Path, tmp_path: Path) -> None:
    for name in ("notes.txt", "sentencepiece.bpe.model", "target_vocab.json", ".env"):
        (folder / name).write_text(SECRET, "utf-8")
    status, _, stderr = tfm("import", str(folder), str(tmp_path / "out"))
    assert status == 0, stderr
    assert_nowhere("secret", tmp_path / "out")
    origin = tmp_path / "out" / "origin"
    assert (origin / "vocab.json").read_bytes() == (folder / "vocab.json").read_bytes()


def test_convert_does_not_follow_links_either(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text(SECRET, "utf-8")
    assert tfm("import", str(folder), str(tmp_path / "out"))[0] == 0
    origin = tmp_path / "out" / "origin"
    (origin / "deep").mkdir()
    (origin / "deep" / "notes").symlink_to(tmp_path / "secret.json")
    (origin / "id_rsa").symlink_to(tmp_path / "secret.json")
    arguments = ("convert", str(tmp_path / "out"), str(tmp_path / "new"), "--to", "transformers")
    status, _, stderr = tfm(*arguments)
    assert status == 0, stderr
    assert_nowhere("secret", tmp_path / "new")
    shutil.rmtree(tmp_path / "new")
    (origin / "added_tokens.json").symlink_to(tmp_path / "secret.json")
    status, _, stderr = tfm(*arguments)
    assert status == 1
    assert "added_tokens.json is a link to" in stderr
    assert not (tmp_path / "new").exists()
    with pytest.raises(TrainError, match="is a link to"):
        read_origin(origin)


def test_a_hub_cache_is_a_folder_of_links(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "models--somebody--model"
    snapshot = cache / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(cache / "blobs" / f"{number}")
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", f"{number}"))
    status, _, stderr = tfm("import", str(snapshot), str(tmp_path / "out"))
    assert status == 0, stderr
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))
    (cache / "token.json").write_text(SECRET, "utf-8")
    (snapshot / "added_tokens.json").symlink_to(Path("..", "..", "token.json"))
    with pytest.raises(TrainError, match="outside the folder"):
        TransformersFolder(snapshot).read_json("added_tokens.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_only_regular_files_are_read(folder: Path) -> None:
    for name in ("vocab.json", "source.spm", "model.safetensors"):
        (folder / name).unlink()
    os.mkfifo(folder / "vocab.json")
    (folder / "source.spm").mkdir()
    (folder / "model.safetensors").symlink_to("model.safetensors")
    given = TransformersFolder(folder)
    for name in ("vocab.json", "source.spm"):
        with pytest.raises(TrainError, match=f"{name}: not a regular file"):
            given.find(name)
    with pytest.raises(TrainError, match=r"model\.safetensors: cannot be read"):
        given.find("model.safetensors")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "[" * 100_000, "config.json: cannot be read as JSON"),
        ("config.json", '{"d_model": ' + "9" * 5000 + "}", "config.json: cannot be read as JSON"),
        ("vocab.json", '{"\\ud800": 1, "</s>": 0, "<unk>": 2, "<pad>": 112}', "is no text"),
        ("vocab.json", '{"a": 1, "b": 1}', "'a' and 'b' have the number 1"),
        ("tokenizer_config.json", '{"target_lang": ["en"]}', "the name of a language is needed"),
        ("generation_config.json", '{"forced_bos_token_id": 3}', "no language to write"),
        ("generation_config.json", '{"eos_token_id": [0, 5]}', "eos_token_id is [0, 5]"),
        ("model.safetensors.index.json", '{"weight_map": {"a": 5}}', "weight_map is no table"),
        ("model.safetensors.index.json", '{"weight_map": ["a"]}', "weight_map is no table"),
    ],
)
def test_odd_json_is_one_line(
    name: str, content: str, message: str, folder: Path, tmp_path: Path
) -> None:
    if "index" in name:
        (folder / "model.safetensors").unlink()
    (folder / name).write_text(content, "utf-8")
    status, _, stderr = tfm("import", str(folder), str(tmp_path / "out"))
    (line,) = stderr.splitlines()
    assert status == 1 and message in line
    assert not (tmp_path / "out").exists()


def with_weight(folder: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = "model.encoder.layers.1.fc1.bias"
    tensors[name] = change(tensors[name])
    save_file(tensors, folder / "model.safetensors")


def filled(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda tensor: tensor.index_fill(0, torch.tensor([3]), value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (filled(float("nan")), "fc1.bias has weights that are NaN or infinite"),
        (filled(float("-inf")), "fc1.bias has weights that are NaN or infinite"),
        (lambda t: t.double() * 1e300, "fc1.bias has weights that are NaN or infinite"),
        (lambda t: t > 0, "fc1.bias has bool weights"),
        (lambda t: t.to(torch.complex64), "fc1.bias has complex64 weights"),
        (lambda t: t.to(torch.int8), "fc1.bias has int8 weights"),
    ],
)
def test_weights_are_finite_numbers(
    change: Callable[[torch.Tensor], torch.Tensor], message: str, folder: Path, tmp_path: Path
) -> None:
    with_weight(folder, change)
    status, _, stderr = tfm("import", str(folder), str(tmp_path / "out"))
    (line,) = stderr.splitlines()
    assert status == 1 and message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"d_model": 10**9, "encoder_attention_heads": 1, "decoder_attention_heads": 1},
        {"d_model": 10**15},
        {"encoder_ffn_dim": 10**9, "decoder_ffn_dim": 10**9},
        {"vocab_size": 10**9, "decoder_vocab_size": 10**9},
        {"vocab_size": 10**30, "decoder_vocab_size": 10**30},
        {"encoder_layers": 10**9},
        {"decoder_layers": 10**9},
    ],
)
def test_absurd_sizes_take_no_memory(
    changes: dict[str, int], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(self: Transformer, config: Any) -> None:
        assert torch.empty(0).is_meta, "built before it was known to fit"
        init(self, config)

    init = Transformer.__init__
    monkeypatch.setattr(Transformer, "__init__", build)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | changes), "utf-8")
    status, _, stderr = tfm("import", str(folder), str(tmp_path / "out"))
    (line,) = stderr.splitlines()
    assert status == 1 and str(max(changes.values())) in line


def test_a_small_storage_does_not_pose_as_a_large_tensor(folder: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.encoder.embed_positions.weight"] = torch.zeros(1).expand(10**6, 10**6)
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    status, _, stderr = tfm("import", str(folder), str(tmp_path / "out"))
    assert status == 1 and "is not stored as a whole tensor" in stderr


def test_a_checkpoint_is_held_to_the_same(tiny_model: Transformer, tmp_path: Path) -> None:
    import dataclasses

    from tfm.trainer.checkpoint import weights_of

    weights = weights_of(tiny_model)
    absurd = dataclasses.replace(tiny_model.config, d_ff=10**9)
    with pytest.raises(TrainError, match="weights do not fit config"):
        build_model(absurd, weights)
    absurd = dataclasses.replace(tiny_model.config, decoder_layers=10**9)
    with pytest.raises(TrainError, match="decoder_layers is 1000000000, and there are weights of"):
        build_model(absurd, weights)
    name = next(iter(weights))
    with pytest.raises(TrainError, match=f"{name} has weights that are NaN"):
        build_model(tiny_model.config, weights | {name: weights[name] * float("nan")})
