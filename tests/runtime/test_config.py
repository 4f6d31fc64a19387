"""config.json: what is written comes back, and what is wrong is said in one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from tfm.runtime.config import (
    Architecture,
    FileEntry,
    Languages,
    ModelConfig,
    SpecialIds,
    TokenizerFiles,
    VariantFiles,
)
from tfm.runtime.errors import ModelError
from tfm.runtime.options import DecodingOptions


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
        languages=Languages(source="中文", target="en", language_token="none", language_ids={}),
        special_ids=SpecialIds(bos_id=1, eos_id=2, pad_id=3, unk_id=0),
        max_source_length=512,
        decoding=DecodingOptions(beam_size=2, suppress_ids=(5, 6)),
        tokenizer=TokenizerFiles(source=vocabulary, target=vocabulary),
        variants={"int8": VariantFiles(**files)},
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


def test_a_folder_of_an_earlier_tfm_has_attention(config: ModelConfig, tmp_path: Path) -> None:
    rewrite(tmp_path, "architecture.decoder_autoregression", ...)
    assert ModelConfig.load(tmp_path) == config


def test_keys_of_a_later_tfm_are_left_alone(config: ModelConfig, tmp_path: Path) -> None:
    rewrite(tmp_path, "variants.int8.prefill", {"path": "int8/prefill.onnx"})
    assert ModelConfig.load(tmp_path) == config


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        ("format_version", 3, "format_version is 3, this tfm reads 4; export the model again"),
        ("format_version", "2", "format_version is '2'"),
        ("format_version", True, "format_version is True"),
        ("format_version", ..., "format_version is None"),
        ("name", ..., "missing key 'name'; export the model again"),
        ("architecture.d_ff", ..., "architecture: missing key 'd_ff'"),
        (
            "architecture.positions",
            "learned",
            "positions is 'learned': expected 'paper' or 'marian' or 'fairseq'",
        ),
        ("architecture.d_ff", "wide", "architecture.d_ff = 'wide': expected an integer"),
        ("architecture.d_ff", True, "architecture.d_ff = True: expected an integer"),
        ("architecture.d_ff", 1.5, "architecture.d_ff = 1.5: expected an integer"),
        ("architecture.norm", "none", "architecture.norm is 'none'"),
        ("architecture.decoder_autoregression", "gru", "decoder_autoregression is 'gru': expected"),
        ("architecture.num_heads", 3, "d_model 256 is not a multiple of num_heads 3"),
        ("architecture.num_heads", 0, "architecture.num_heads = 0: choose 1 to 10000000"),
        ("special_ids.bos_id", -1, "special_ids.bos_id = -1: choose at least 0"),
        (
            "decoding.length_penalty",
            float("nan"),
            "decoding.length_penalty = nan: choose a finite number",
        ),
        ("decoding.beam_size", 1.5, "decoding.beam_size = 1.5: expected an integer"),
        ("decoding.num_hypotheses", 7, "decoding: num_hypotheses 7 is more than beam_size 2"),
        ("decoding.suppress_ids", "ab", "decoding.suppress_ids = 'ab': expected a list"),
        ("decoding.suppress_ids", [8000], "decoding: suppress_ids has 8000: the model's tokens"),
        ("decoding", [], "decoding: expected a table"),
        ("max_source_length", ..., "missing key 'max_source_length'"),
        ("languages.language_token", "end", "languages.language_token is 'end'"),
        ("languages.language_token", "source", "language 'en' has no token"),
        ("languages", "zh-en", "languages: expected a table, got 'zh-en'"),
        ("variants", {}, "variants is empty"),
        ("variants.int8.encoder", ..., "variants.int8: missing key 'encoder'"),
        ("variants.int8.translate", ..., "variants.int8: missing key 'translate'"),
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


def test_an_option_that_an_older_tfm_did_not_write_is_neutral(
    config: ModelConfig, tmp_path: Path
) -> None:
    rewrite(tmp_path, "decoding.patience", ...)
    assert ModelConfig.load(tmp_path) == config


@pytest.mark.parametrize(
    ("language_token", "pair", "expected"),
    [
        ("none", (None, None), ([], [])),
        ("source", (None, "fr"), ([8], [])),
        ("both", (None, None), ([6], [7])),
        ("both", ("fr", "zh"), ([8], [6])),
    ],
)
def test_prefixes(
    language_token: str, pair: tuple[str | None, str | None], expected: tuple[list[int], list[int]]
) -> None:
    ids = {} if language_token == "none" else {"zh": 6, "en": 7, "fr": 8}
    languages = Languages(source="zh", target="en", language_token=language_token, language_ids=ids)
    assert languages.prefixes(*pair) == expected
    with pytest.raises(ValueError, match="target_language is 'xx': this model has "):
        languages.prefixes(None, "xx")


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


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize("name", ["我的　模型", "my\u00a0model", "modèle", "a\u200bb", "模型 🙂"])
def test_names_in_any_script(tmp_path: Path, name: str) -> None:
    rewrite(tmp_path, "name", name)
    assert ModelConfig.load(tmp_path).name == name
