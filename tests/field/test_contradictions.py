"""A config.json that fits neither its vocabularies and graphs nor itself: one line, no nonsense."""

import io
import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import sentencepiece
from helpers.command import tfm
from helpers.signed_folder import change_graph, copy_folder, set_config, sign

from tfm.runtime import ModelError, TfmError, Translator
from tfm.runtime.config import ModelConfig


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return copy_folder(tiny_folder, tmp_path / "model")


def translate(folder: Path) -> None:
    """Both ways, with every graph."""
    for by_steps in (False, True):
        with Translator(folder, by_steps=by_steps, intra_threads=1) as translator:
            translator.translate_batch(["一百", "二", "三千四百五十六"])


def one_line(error: TfmError) -> str:
    text = str(error)
    assert text.isprintable()
    assert len(text) < 700, text
    return text


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        ("special_ids.eos_id", 10**6, "special_ids.eos_id is 1000000, the vocabulary has"),
        ("special_ids.bos_id", 10**6, "special_ids.bos_id is 1000000"),
        ("special_ids.pad_id", 5, "it was made with pad_id '0', not 5"),
        ("special_ids.eos_id", 5, "it was made with eos_id '3', not 5"),
        ("special_ids.eos_id", 2, "it was made with eos_id '3', not 2"),
        ("special_ids.unk_id", 3, "EOS is padding or unknown too"),
        ("special_ids.unk_id", 7, "it was made with unk_id '1', not 7"),
        ("special_ids.bos_id", 5, "it was made with bos_id '2', not 5"),
        ("special_ids.bos_id", 3, "it was made with bos_id '2', not 3"),
        ("architecture.num_heads", 2, "it was made with num_heads '4', not 2"),
        ("architecture.num_heads", 0, "num_heads = 0: choose 1 to"),
        ("architecture.d_model", 64, "it was made with d_model '32', not 64"),
        ("architecture.d_model", -4, "d_model = -4: choose 1 to"),
        ("architecture.decoder_layers", 1, "it was made with decoder_layers '2', not 1"),
        ("architecture.decoder_layers", 3, "it was made with decoder_layers '2', not 3"),
        ("architecture.encoder_layers", 3, "it was made with encoder_layers '1', not 3"),
        ("architecture.source_vocab_size", 90, "it was made with source_vocab_size"),
        ("architecture.decoder_layers", 10**9, "decoder_layers = 1000000000: choose 1 to 1024"),
        ("architecture.target_vocab_size", 200, "it was made with target_vocab_size"),
        ("architecture.target_vocab_size", 10**6, "not 1000000"),
        ("architecture.target_vocab_size", 10**30, "target_vocab_size = 1000000000"),
        ("max_source_length", 0, "max_source_length = 0: choose 1 to"),
        ("max_source_length", 10**9, "max_source_length = 1000000000: choose 1 to"),
        ("decoding.beam_size", 10**6, "beam_size is 1000000: it must be at most 1024"),
        ("decoding.max_length", 2**62, "max_length is"),
        ("languages.language_ids", {"en": 10**6}, "languages.language_ids has 1000000 for 'en'"),
        ("languages.language_ids", {"en": -1}, "choose at least 0"),
        ("languages.source", "a\x00b", r"a language is 'a\x00b': it has characters that cannot"),
        ("name", "a\nb", r"name is 'a\nb': it has characters that cannot be shown"),
        ("name", "\x1b[31mred", r"name is '\x1b[31mred'"),
        ("name", "\ud800", r"name is '\ud800'"),
        ("name", "x" * 10**6, "it has 1000000 characters, at most 255"),
        ("tokenizer.source.path", "a/" * 3000 + "x", "it has 6001 characters, at most 255"),
        ("tokenizer.source.path", "a\x00b", r"path is 'a\x00b'"),
        ("tokenizer.source.size", 2**60, "a vocabulary has at most"),
        ("tokenizer.source.sha256", "\x08" * 64, "expected 64 hexadecimal digits"),
        ("tokenizer.source.sha256", ["x" * 10**6], "expected a string"),
        ("variants.int8.translate.size", 2**60, "a graph has at most"),
    ],
)
def test_config(folder: Path, keys: str, value: Any, message: str) -> None:
    set_config(folder, keys, value)
    with pytest.raises(ModelError) as caught:
        translate(folder)
    assert message in one_line(caught.value)
    status, stdout, stderr = tfm("run", "-m", str(folder), "一")
    assert (status, stdout, stderr.count("\n")) == (1, "", 1)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"format_version": ' + "9" * 5000 + "}",
        "\x00",
        "",
        "null",
        "[]",
        '"config"',
        "NaN",
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf[]",
        "{}".encode("utf-16"),
    ],
)
def test_a_config_that_is_no_table(folder: Path, text: str | bytes) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    (folder / "config.json").write_bytes(data)
    with pytest.raises(ModelError) as caught:
        ModelConfig.load(folder)
    assert "config.json" in one_line(caught.value)


def test_a_config_without_end(folder: Path) -> None:
    with (folder / "config.json").open("ab") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(ModelError, match=r"config\.json"):
        ModelConfig.load(folder)


@pytest.mark.parametrize(
    ("graph", "other"), [*itertools.permutations(("translate", "encoder", "decoder", "compact"), 2)]
)
def test_swapped_graphs(folder: Path, graph: str, other: str) -> None:
    shutil.copy(folder / "int8" / f"{other}.onnx", folder / "int8" / f"{graph}.onnx")
    sign(folder)
    with pytest.raises(ModelError, match=f"is not the {graph} graph that config.json describes"):
        translate(folder)


def rename_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "other"
    model.graph.node[-1].output[0] = "other"


def narrow_source(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT32


def fix_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def drop_last_node(model: onnx.ModelProto) -> None:
    del model.graph.node[-1]


def other_special_ids(model: onnx.ModelProto) -> None:
    for entry in model.metadata_props:
        if entry.key == "eos_id":
            entry.value = "4"


@pytest.mark.parametrize(
    "change", [rename_output, narrow_source, fix_batch, drop_last_node, other_special_ids]
)
def test_changed_graphs(folder: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    change_graph(folder / "int8" / "translate.onnx", change)
    sign(folder)
    with pytest.raises(ModelError) as caught:
        translate(folder)
    assert "translate.onnx" in one_line(caught.value)


def test_a_vocabulary_with_fewer_pieces(folder: Path, toy_like_vocabulary: bytes) -> None:
    (folder / "target.spm").write_bytes(toy_like_vocabulary)
    sign(folder)
    with pytest.raises(ModelError, match=r"target\.spm has [0-9]+ tokens, the model writes"):
        translate(folder)


def test_a_vocabulary_with_a_piece_that_is_no_text(folder: Path) -> None:
    path = folder / "target.spm"
    data, piece = path.read_bytes(), "▁hundred".encode()
    path.write_bytes(data.replace(piece, b"\xf8" * len(piece)))
    assert path.read_bytes() != data
    sign(folder)
    with pytest.raises(ModelError, match=r"target\.spm"):
        translate(folder)


@pytest.fixture(scope="module")
def toy_like_vocabulary() -> bytes:
    """Some pieces with the special ids of the tiny model."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["one two three four five six seven eight nine ten"] * 50),
        model_writer=model,
        vocab_size=60 + 4 + 20,
        model_type="char",
        hard_vocab_limit=False,
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        user_defined_symbols=[f"x{number}" for number in range(60)],
        minloglevel=2,
    )
    return model.getvalue()


@pytest.mark.parametrize("kind", ["hard link", "symbolic link"])
def test_linked_files(folder: Path, tmp_path: Path, kind: str) -> None:
    """uv and download caches link what they install."""
    store = tmp_path / "store"
    store.mkdir()
    for number, path in enumerate(sorted(folder.rglob("*.*"))):
        if path.is_file():
            stored = store / str(number)
            path.rename(stored)
            if kind == "hard link":
                os.link(stored, path)
            else:
                path.symlink_to(stored)
    translate(folder)


def test_a_fifo_in_a_folder(folder: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes with names")
    for name in ("target.spm", "int8/translate.onnx", "config.json"):
        path = folder / name
        path.unlink()
        os.mkfifo(path)
        if name != "config.json":
            entry = "tokenizer.target" if name == "target.spm" else "variants.int8.translate"
            set_config(folder, f"{entry}.size", 0)
        with pytest.raises(ModelError, match="regular file"):
            translate(folder)


def test_weights_that_are_not_numbers(folder: Path) -> None:
    path = folder / "int8" / "weights.bin"
    path.write_bytes(b"\xff" * path.stat().st_size)
    sign(folder)
    with pytest.raises(TfmError) as caught:
        translate(folder)
    one_line(caught.value)


def test_what_config_says_stays_json(folder: Path) -> None:
    """The helper that signs folders does not change what they mean."""
    before = json.loads((folder / "config.json").read_text("utf-8"))
    sign(folder)
    assert json.loads((folder / "config.json").read_text("utf-8")) == before
    translate(folder)
