"""Marian's binary format, held to a writer of its own and, in test_with_marian.py, to Marian."""

from pathlib import Path

import numpy as np
import pytest
from helpers import marian, marian_binary
from helpers.command import tfm
from helpers.marian import SSRU
from helpers.marian_binary import intgemm8_items, plain_items, write_bin

from tfm.trainer.checkpoint import load_file
from tfm.trainer.errors import TrainError
from tfm.trainer.importing.marian.binary import read_bin
from tfm.trainer.importing.npz import Arrays, read_npz

WIDE = {"dim-emb": 32, "transformer-dim-ffn": 64, "tied-embeddings-all": True}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marian") / "given"
    marian.write_marian(folder, joint=True, changed={**WIDE, **SSRU})
    return folder


@pytest.fixture(scope="module")
def arrays(given: Path) -> Arrays:
    return read_npz(given / "model.npz")


def test_a_float32_file_is_the_npz(given: Path, arrays: Arrays, tmp_path: Path) -> None:
    write_bin(given / "model.bin", plain_items(arrays))
    found = read_bin(given / "model.bin")
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)
    for suffix in ("npz", "bin"):
        arguments = (f"{given / 'model.'}{suffix}", "--vocab", str(given / "joint.spm"))
        assert tfm("import", *arguments, str(tmp_path / suffix))[0] == 0
    a, b = (load_file(tmp_path / suffix / "model.safetensors") for suffix in ("npz", "bin"))
    assert all(a[name].equal(b[name]) for name in a)


@pytest.mark.parametrize("processor", [None, *marian_binary.REGISTERS])
def test_quantized_matrices(processor: str | None, arrays: Arrays, tmp_path: Path) -> None:
    items, rounded = intgemm8_items(arrays, processor)
    write_bin(tmp_path / "model.bin", items)
    found = read_bin(tmp_path / "model.bin")
    for name, array in rounded.items():
        assert np.allclose(found[name], array, rtol=1e-6, atol=0), name
    assert not np.array_equal(found["encoder_l1_self_Wq"], arrays["encoder_l1_self_Wq"])


def test_a_model_of_firefox(given: Path, arrays: Arrays, tmp_path: Path) -> None:
    items, rounded = intgemm8_items(arrays, firefox=True)
    path = tmp_path / "model.intgemm.alphas.bin"
    write_bin(path, items)
    found = read_bin(path)
    assert all(np.allclose(found[name], rounded[name], rtol=1e-6, atol=0) for name in rounded)
    out = tmp_path / "out"
    status, _, stderr = tfm("import", str(path), "--vocab", str(given / "joint.spm"), str(out))
    assert status == 0, stderr


def test_sizes_that_marian_conv_scrambles(tmp_path: Path) -> None:
    items, _ = intgemm8_items({"decoder_ff_logit_out_Wt": np.ones((59, 32), np.float32)})
    write_bin(tmp_path / "model.bin", items)
    with pytest.raises(TrainError, match=r"is \[59, 32\]: marian-conv scrambles sizes"):
        read_bin(tmp_path / "model.bin")


def test_types_and_versions_that_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    for kind, said in ((0x802, "packed16"), (0x1801, "packed8avx2"), (0x77, "0x77")):
        write_bin(path, [("a", kind, (4,), b"\0" * 8)])
        with pytest.raises(TrainError, match=f"'a' is of type {said}: convert the .npz with"):
            read_bin(path)
    write_bin(path, [], version=2)
    with pytest.raises(TrainError, match="it is encrypted: not supported"):
        read_bin(path)
    write_bin(path, [("a", marian_binary.INTGEMM8, (16, 16), b"\0" * 260)])
    with pytest.raises(TrainError, match=r"'a' has the scale 0\.0"):
        read_bin(path)
    write_bin(path, [("a", marian_binary.FLOAT32, (1 << 20, 1 << 20), b"\0" * 8)])
    with pytest.raises(TrainError, match=r"'a' is \[1048576, 1048576\], and has 256 bytes"):
        read_bin(path)
    write_bin(path, [("a", marian_binary.FLOAT32, (-1, 2), b"\0" * 8)])
    with pytest.raises(TrainError, match=r"'a' has the shape \[-1, 2\]"):
        read_bin(path)


def test_every_cut_and_many_changed_bytes_are_said(arrays: Arrays, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    small = {name: arrays[name] for name in ("special:model.yml", "decoder_l1_rnn_bf")}
    write_bin(path, plain_items(small))
    whole = path.read_bytes()
    data = sum(-(-array.nbytes // 256) * 256 for array in small.values())
    for length in (*range(0, len(whole) - data, 7), len(whole) - 300):
        path.write_bytes(whole[:length])
        with pytest.raises(TrainError, match=r"model\.bin"):
            read_bin(path)
    random = np.random.default_rng(0)
    for _ in range(300):
        content = bytearray(whole)
        content[random.integers(len(whole) - data)] ^= int(random.integers(1, 256))
        path.write_bytes(content)
        try:
            read_bin(path)
        except TrainError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
