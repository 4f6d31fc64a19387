"""config.json: what is written comes back, and what is wrong is said in one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from tfm.runtime.config import (
    Architecture,
    Decoding,
    FileEntry,
    Languages,
    ModelConfig,
    SpecialIds,
    Tokenizer,
    Variant,
)
from tfm.runtime.errors import ModelError


@pytest.fixture
def config(tmp_path: Path) -> ModelConfig:
    """A model folder in tmp_path whose files are only names."""
    (tmp_path / "int8").mkdir()
    parts = {
        "encoder": "int8/encoder.onnx",
        "decoder": "int8/decoder.onnx",
        "compact": "int8/compact.onnx",
        "translate": "int8/translate.onnx",
        "weights": "int8/weights.bin",
    }
    for path in ("joint.spm", *parts.values()):
        (tmp_path / path).write_text(f"the content of {path}", encoding="utf-8")
    vocabulary = FileEntry.of(tmp_path, "joint.spm")
    files = {part: FileEntry.of(tmp_path, path) for part, path in parts.items()}
    config = ModelConfig(
        name="zh-en",
        architecture=Architecture(
            d_model=256,
            d_ff=1024,
            num_heads=4,
            encoder_layers=6,
            decoder_layers=2,
            source_vocab_size=8000,
            target_vocab_size=8000,
            norm="post",
            parameters=11_000_000,
        ),
        languages=Languages(source="中文", target="en", tagged="none", tags={}),
        special_ids=SpecialIds(bos_id=1, eos_id=2, pad_id=3, unk_id=0),
        decoding=Decoding(beam_size=4, length_penalty=1.0, max_length=256, max_source_length=512),
        tokenizer=Tokenizer(source=vocabulary, target=vocabulary),
        variants={"int8": Variant(**files)},
    )
    config.save(tmp_path)
    return config


def rewrite(folder: Path, keys: str, value: Any) -> None:
    """Set one value of config.json by dotted key, or delete it (value ...)."""
    path = folder / "config.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    *parents, last = keys.split(".")
    inner = data
    for key in parents:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    path.write_text(json.dumps(data), encoding="utf-8")


def test_what_is_saved_loads_as_it_was(config: ModelConfig, tmp_path: Path) -> None:
    assert ModelConfig.load(tmp_path) == config
    assert "中文" in (tmp_path / "config.json").read_text(encoding="utf-8")


def test_an_integer_is_a_number(config: ModelConfig, tmp_path: Path) -> None:
    rewrite(tmp_path, "decoding.length_penalty", 1)
    assert ModelConfig.load(tmp_path) == config


def test_keys_of_a_later_tfm_are_left_alone(config: ModelConfig, tmp_path: Path) -> None:
    rewrite(tmp_path, "variants.int8.prefill", {"path": "int8/prefill.onnx"})
    assert ModelConfig.load(tmp_path) == config


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        ("format_version", 1, "format_version is 1, this tfm reads 3"),
        ("format_version", "2", "format_version is '2'"),
        ("format_version", True, "format_version is True"),
        ("format_version", ..., "format_version is None"),
        ("name", ..., "key 'name' is missing"),
        ("architecture.d_ff", ..., "key 'architecture.d_ff' is missing"),
        ("architecture.d_ff", "wide", "architecture.d_ff is 'wide': expected an integer"),
        ("architecture.d_ff", True, "architecture.d_ff is True: expected an integer"),
        ("architecture.d_ff", 1.5, "architecture.d_ff is 1.5: expected an integer"),
        ("architecture.norm", "none", "architecture.norm is 'none'"),
        ("architecture.num_heads", 3, "d_model 256 is not a multiple of num_heads 3"),
        ("architecture.num_heads", 0, "d_model 256 is not a multiple of num_heads 0"),
        ("special_ids.bos_id", -1, "special_ids.bos_id is -1"),
        ("decoding.length_penalty", float("nan"), "decoding.length_penalty is nan"),
        ("languages", "zh-en", "languages is 'zh-en': expected an object"),
        ("variants", {}, "variants is empty"),
        ("variants.int8.encoder", ..., "key 'variants.int8.encoder' is missing"),
        ("variants.int8.translate", ..., "key 'variants.int8.translate' is missing"),
        ("tokenizer.source.path", "../x.spm", "'../x.spm' is not inside the model folder"),
        ("tokenizer.source.path", "/x.spm", "'/x.spm' is not inside the model folder"),
        ("tokenizer.source.path", "a/../../x", "'a/../../x' is not inside the model folder"),
        ("tokenizer.source.path", "C:x.spm", "'C:x.spm' is not inside the model folder"),
        ("tokenizer.source.path", "..\\x.spm", "is not inside the model folder"),
        ("tokenizer.source.path", "", "'' is not inside the model folder"),
    ],
)
@pytest.mark.usefixtures("config")
def test_a_wrong_config_is_named(tmp_path: Path, keys: str, value: Any, message: str) -> None:
    rewrite(tmp_path, keys, value)
    with pytest.raises(ModelError) as caught:
        ModelConfig.load(tmp_path)
    assert message in str(caught.value)
    assert str(tmp_path / "config.json") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"[1, 2"])
def test_not_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match="is not JSON"):
        ModelConfig.load(tmp_path)


@pytest.mark.parametrize("content", ["[]", "null", "3"])
def test_json_of_another_kind(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match="format_version is None"):
        ModelConfig.load(tmp_path)


def test_a_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no config\.json: expected a folder written by"):
        ModelConfig.load(tmp_path)


def test_a_whole_file_verifies(config: ModelConfig, tmp_path: Path) -> None:
    file = config.variants["int8"].weights
    assert file.verify(tmp_path) == tmp_path / "int8" / "weights.bin"


def test_a_missing_file(config: ModelConfig, tmp_path: Path) -> None:
    (tmp_path / "int8" / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"cannot read .*weights\.bin: No such file"):
        config.variants["int8"].weights.verify(tmp_path)


def test_a_cut_file(config: ModelConfig, tmp_path: Path) -> None:
    (tmp_path / "int8" / "weights.bin").write_bytes(b"cut")
    with pytest.raises(ModelError, match=r"weights\.bin is damaged: 3 bytes, expected 31"):
        config.variants["int8"].weights.verify(tmp_path)


def test_a_file_with_one_byte_changed(config: ModelConfig, tmp_path: Path) -> None:
    path = tmp_path / "int8" / "weights.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(ModelError, match=r"weights\.bin is damaged: sha256"):
        config.variants["int8"].weights.verify(tmp_path)
