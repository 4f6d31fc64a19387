"""CTranslate2 folders that are damaged, hostile, or of another network: one line, nothing made."""

import json
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.command import tfm
from helpers.models import random_model

from tfm.export.formats.ctranslate2 import write_ctranslate2
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.errors import TrainError
from tfm.trainer.importing.ctranslate2.binary import read_variables


@pytest.fixture(scope="module")
def original(tiny_vocabulary: Vocabulary, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = random_model(
        source_vocab_size=tiny_vocabulary.source.vocab_size(),
        target_vocab_size=tiny_vocabulary.target.vocab_size(),
        d_model=16,
        d_ff=16,
        num_heads=2,
        encoder_layers=1,
        decoder_layers=1,
    )
    folder = tmp_path_factory.mktemp("ct2") / "given"
    write_ctranslate2(model, folder, tiny_vocabulary)
    return folder


@pytest.fixture
def given(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "given")


def string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def model_bin(
    *variables: tuple[str, tuple[int, ...], int, bytes],
    version: int = 6,
    specification: str = "TransformerSpec",
) -> bytes:
    head = struct.pack("<I", version) + string(specification)
    head += struct.pack("<II", 7, len(variables))
    for name, shape, kind, data in variables:
        head += string(name) + struct.pack(f"<B{len(shape)}I", len(shape), *shape)
        head += struct.pack("<BI", kind, len(data)) + data
    return head + struct.pack("<I", 0)


def setting(name: str, value: object) -> Callable[[Path], None]:
    def damage(given: Path) -> None:
        config = json.loads((given / "config.json").read_text())
        (given / "config.json").write_text(json.dumps(config | {name: value}))

    return damage


def content(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda given: (given / name).write_bytes(data) and None


def cut(given: Path) -> None:
    path = given / "model.bin"
    path.write_bytes(path.read_bytes()[:-2000])


def shorter(given: Path) -> None:
    path = given / "target_vocabulary.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:-1]))


def link(given: Path) -> None:
    shutil.move(given / "model.bin", given.parent / "elsewhere.bin")
    (given / "model.bin").symlink_to(given.parent / "elsewhere.bin")


HUGE = model_bin(("encoder/embeddings/weight", (1 << 31, 1 << 31), 0, b"\0" * 4))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "model.bin: damaged: it ends after"),
        (link, "outside the folder"),
        (shorter, "decoder/embeddings/weight has 300 rows, the vocabulary 299"),
        (content("model.bin", b""), "model.bin: damaged: it ends after 0 bytes"),
        (content("model.bin", b"GGUF" * 9), "no model.bin of version 2 to 6"),
        (content("model.bin", HUGE), "is [2147483648, 2147483648], 18446744073709551616 bytes"),
        (content("model.bin", model_bin(("a", (1,), 9, b"\0"))), "'a' is of the unknown type 9"),
        (content("model.bin", model_bin(specification="WhisperSpec")), "it is a WhisperSpec"),
        (content("model.bin", model_bin()), "encoder/embeddings_0/weight is missing"),
        (content("config.json", b"["), "config.json: cannot be read as JSON"),
        (content("source_vocabulary.json", b"[1]"), "a list of tokens is needed"),
        (content("source_vocabulary.json", b"[]"), "'</s>' is no token of the source"),
        (content("source.spm", b"x"), "source.spm: not a SentencePiece model"),
        (setting("decoder_start_token", None), "decoder_start_token is None: a model is needed"),
        (setting("decoder_start_token", "<x>"), "'<x>' is no token of the target"),
        (setting("add_source_bos", True), "add_source_bos is true: not supported"),
        (setting("layer_norm_epsilon", "x"), "layer_norm_epsilon is 'x': a number above 0"),
        (setting("quantization_type", 1), "quantization_type is 1: not supported"),
    ],
)
def test_damage_is_said_in_one_line(
    given: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(given)
    out = tmp_path / "out"
    status, stdout, stderr = tfm("import", str(given), str(out))
    assert (status, stdout) == (1, "")
    (line,) = stderr.splitlines()
    assert line.startswith(f"Error: {given}") and message in line
    assert not out.exists()


WEIGHT = ("encoder/embeddings_0/weight", (300, 16), 0, b"\0" * 19200)
BESIDE = (("decoder/embeddings/weight", *WEIGHT[1:]), ("decoder/projection/weight", *WEIGHT[1:]))


@pytest.mark.parametrize(
    ("name", "shape", "kind", "data", "message"),
    [
        ("decoder/alibi", (), 1, b"\1", "decoder/alibi is 1: supported is 0"),
        ("encoder/activation", (), 1, b"\4", "activation is 0 and 4 of encoder and"),
        ("activation", (), 1, b"\4", "activation is GELUSigmoid: supported is relu, swish, gelu"),
        ("encoder/scale_embeddings", (), 0, b"\0\0\0\x40", "scale_embeddings is 1 and 2 of"),
        ("encoder/num_heads", (2,), 1, b"\1\1", "encoder/num_heads is [2]: one number is needed"),
        ("a", (4, 2), 1, b"\1" * 8, "a holds int8 without a scale"),
    ],
)
def test_other_networks(
    given: Path,
    tmp_path: Path,
    name: str,
    shape: tuple[int, ...],
    kind: int,
    data: bytes,
    message: str,
) -> None:
    (given / "model.bin").write_bytes(model_bin((name, shape, kind, data), WEIGHT, *BESIDE))
    status, _, stderr = tfm("import", str(given), str(tmp_path / "out"))
    assert (status, stderr.count("\n")) == (1, 1)
    assert f"Error: {given / 'model.bin'}: {message}" in stderr


def test_a_weight_that_is_not_ours(given: Path, tmp_path: Path) -> None:
    """Such as a gate in the feed-forward layers, or relative positions."""
    whole = (given / "model.bin").read_bytes()
    start = 4 + 2 + len("TransformerSpec") + 1 + 4
    (count,) = struct.unpack_from("<I", whole, start)
    name = "encoder/layer_0/ffn/linear_0_noact/weight"
    added = string(name) + struct.pack("<B2IBI", 2, 1, 1, 0, 4) + b"\0" * 4
    changed = whole[:start] + struct.pack("<I", count + 1) + added + whole[start + 4 :]
    (given / "model.bin").write_bytes(changed)
    status, _, stderr = tfm("import", str(given), str(tmp_path / "out"))
    assert status == 1
    assert stderr == f"Error: {given / 'model.bin'}: {name} is not of this architecture\n"


def test_learned_positions(given: Path, tmp_path: Path) -> None:
    whole = bytearray((given / "model.bin").read_bytes())
    place = whole.index(b"position_encodings/encodings\0") + 60
    whole[place : place + 8] = struct.pack("<2f", 3.0, 3.0)
    (given / "model.bin").write_bytes(whole)
    status, _, stderr = tfm("import", str(given), str(tmp_path / "out"))
    assert status == 1
    assert "learned positions are not supported" in stderr


def test_every_cut_and_many_changed_bytes_are_said(original: Path) -> None:
    whole = (original / "model.bin").read_bytes()
    for length in range(0, 3000, 11):
        with pytest.raises(TrainError):
            read_variables(whole[:length])
    random = np.random.default_rng(0)
    for _ in range(200):
        changed = bytearray(whole)
        changed[random.integers(400)] ^= int(random.integers(1, 256))
        try:
            read_variables(bytes(changed))
        except TrainError as error:
            assert "\n" not in str(error)


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(f"a/model/{name.replace('_bin', '.bin')}", data)
    return path


def test_archives(tmp_path: Path) -> None:
    path = tmp_path / "a.argosmodel"
    for make, message in (
        (lambda: path.write_bytes(b"no zip"), "damaged, or no .argosmodel"),
        (lambda: archive(path, other=b""), "0 files model.bin: an .argosmodel has one"),
        (lambda: archive(path, model_bin=b"\0" * (1 << 22)), "bytes that claim to hold 4194304"),
        (lambda: archive(path, model_bin=model_bin()), "config.json: not found"),
    ):
        make()
        status, _, stderr = tfm("import", str(path), str(tmp_path / "out"))
        assert (status, stderr.count("\n")) == (1, 1)
        assert stderr.startswith(f"Error: {path}") and message in stderr
    content = bytearray(archive(path, model_bin=bytes(range(256)) * 90).read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(content)
    status, _, stderr = tfm("import", str(path), str(tmp_path / "out"))
    assert (status, stderr.count("\n")) == (1, 1)
    assert "model.bin cannot be unpacked" in stderr
