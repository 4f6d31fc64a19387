"""Files of Marian that are damaged, hostile or not what their names say: one line, nothing made."""

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import marian
from helpers.command import tfm


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return marian.write_marian(tmp_path_factory.mktemp("marian") / "theirs").parent


@pytest.fixture
def given(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "given")


def replace(given: Path, name: str, array: np.ndarray | None) -> None:
    """Write the model again with one array changed, or without it."""
    path = given / "model.npz"
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    arrays.pop(name, None)
    if array is not None:
        arrays[name] = array
    np.savez(path, **arrays)


def cut(given: Path) -> None:
    path = given / "model.npz"
    path.write_bytes(path.read_bytes()[:-500])


def flip(given: Path) -> None:
    content = bytearray((given / "model.npz").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (given / "model.npz").write_bytes(content)


def bomb(given: Path) -> None:
    np.savez_compressed(given / "model.npz", zeros=np.zeros(1 << 22))


def header(claim: str) -> Callable[[Path], None]:
    """An .npy that claims a shape and holds four bytes."""

    def damage(given: Path) -> None:
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {claim}}}\n".encode()
        member = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + b"\0" * 4
        with zipfile.ZipFile(given / "model.npz", "w") as archive:
            archive.writestr("encoder_Wemb.npy", member)

    return damage


def objects(given: Path) -> None:
    """A pickle that would make a file."""

    class Touch:
        def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
            return Path.touch, (given / "touched",)

    buffer = io.BytesIO()
    np.save(buffer, np.array([Touch()], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(given / "model.npz", "w") as archive:
        archive.writestr("encoder_Wemb.npy", buffer.getvalue())


def text(name: str, content: str) -> Callable[[Path], None]:
    return lambda given: (given / name).write_text(content, "utf-8") and None


def array(name: str, value: np.ndarray | None) -> Callable[[Path], None]:
    return lambda given: replace(given, name, value)


NAN = np.full((1, 16), np.nan, np.float32)
YML = "models: [{}]\nvocabs: [{}]\n"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "model.npz: damaged, or no .npz"),
        (flip, "model.npz"),
        (bomb, "that claim to hold 335"),
        (header("(1 << 40, 1 << 20)"), "no .npy array"),
        (header("(1099511627776, 1048576)"), "bytes, and"),
        (header("(-1,)"), "has the shape (-1,)"),
        (header("(2, 2)"), "'encoder_Wemb.npy' has not the 16 bytes of [2, 2] float32"),
        (header("()"), "no special:model.yml"),
        (objects, "'encoder_Wemb.npy' holds object: an array of numbers is needed"),
        (text("model.npz", "not a zip"), "model.npz: damaged, or no .npz"),
        (array("special:model.yml", None), "no special:model.yml"),
        (array("special:model.yml", np.frombuffer(b"a: [", np.int8)), "cannot be read as YAML"),
        (array("special:model.yml", np.frombuffer(b"\xff\0", np.int8)), "not UTF-8"),
        (array("encoder_Wemb", None), "encoder_Wemb and Wemb are missing"),
        (array("encoder_Wemb", np.zeros(3, np.float32)), "has the shape [3]: no table"),
        (array("encoder_l1_self_Wq", None), "encoder_l1_self_Wq is missing"),
        (array("encoder_l1_ffn_b1", np.zeros((1, 7), np.float32)), "encoder_l1_ffn_b1 is [1, 7]"),
        (array("encoder_l1_ffn_W2", np.zeros((24, 16), np.int8)), "encoder_l1_ffn_W2 holds int8"),
        (array("decoder_l1_context_bq", NAN), "decoder_l1_context_bq has weights that are NaN"),
        (array("encoder_l3_self_Wq", np.zeros((16, 16))), "encoder_l3_self_Wq is not of this"),
        (text("decoder.yml", YML.format("a.npz, b.npz", "")), "2 models: tfm imports one"),
        (text("decoder.yml", YML.format("", "")), "0 models"),
        (text("decoder.yml", YML.format("../model.npz", "")), "lies outside its folder"),
        (text("decoder.yml", YML.format("model.npz", "/a.spm")), "give it with --vocab"),
        (text("decoder.yml", YML.format("model.npz", "")), "which vocabularies belong to it?"),
        (text("decoder.yml", YML.format("none.npz", "source.spm")), "none.npz: not found"),
        (text("decoder.yml", YML.format("model.txt", "source.spm")), "ends in .npz"),
        (text("decoder.yml", YML.format("model.npz", "a.txt")), "the name of a vocabulary ends"),
        (text("decoder.yml", "- a"), "not a YAML mapping"),
        (text("decoder.yml", "a: " + "[" * 5000), "cannot be read as YAML"),
        (text("source.spm", "x"), "source.spm: not a SentencePiece model"),
    ],
)
def test_damage_is_said_in_one_line(
    given: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(given)
    out = tmp_path / "out"
    status, stdout, stderr = tfm("import", str(given / "decoder.yml"), str(out))
    assert (status, stdout) == (1, "")
    (line,) = stderr.splitlines()
    assert line.startswith(f"Error: {given}") and message in line
    assert not out.exists()
    assert not (given / "touched").exists()


def test_subwords_without_a_sentencepiece_model(given: Path, tmp_path: Path) -> None:
    (given / "target.spm").unlink()
    (given / "source.spm").unlink()
    (given / "v.yml").write_text("</s>: 0\n<unk>: 1\na: 2\n")
    arguments = ("import", str(given / "model.npz"), "--vocab", str(given / "v.yml"))
    status, _, stderr = tfm(*arguments, str(tmp_path / "out"))
    assert status == 1
    assert stderr.startswith(f"Error: {given / 'v.yml'} lists subwords and does not say how text")
    assert stderr.count("\n") == 1


def test_a_vocabulary_of_another_model(given: Path, tmp_path: Path) -> None:
    (given / "v.yml").write_text("</s>: 0\n<unk>: 1\na: 2\na b: x\n")
    (given / "w.yml").write_text("</s>: 0\nunknown: 1\n")
    for name, message in (("v", "'a b' has the number 'x'"), ("w", "<unk> has no id that both")):
        arguments = ("import", str(given / "model.npz"), "--vocab", str(given / f"{name}.yml"))
        status, _, stderr = tfm(*arguments, str(tmp_path / "out"))
        assert (status, stderr.count("\n")) == (1, 1)
        assert message in stderr


def test_vocabularies_given_are_those_that_count(given: Path, tmp_path: Path) -> None:
    (given / "decoder.yml").write_text(YML.format("model.npz", "none.spm"))
    vocabularies = [f"--vocab={given / name}" for name in ("source.spm", "target.spm")]
    status, _, stderr = tfm("import", str(given), str(tmp_path / "out"), *vocabularies)
    assert status == 0, stderr
