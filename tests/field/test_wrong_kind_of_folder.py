"""A folder of another kind than a command takes: what it is, and which command takes it."""

import json
from pathlib import Path

import pytest
from helpers.command import tfm

from tfm.runtime.bundled import bundled_model
from tfm.runtime.files.folder_kind import FolderKind, folder_kind, wrong_kind

FILES = {
    FolderKind.CHECKPOINT: {
        "config.json": json.dumps({"source_vocab_size": 9, "target_vocab_size": 9, "d_model": 4}),
        "model.safetensors": "",
    },
    FolderKind.HUGGING_FACE: {
        "config.json": json.dumps({"model_type": "marian", "d_model": 4}),
        "pytorch_model.bin": "",
    },
    FolderKind.CTRANSLATE2: {
        "config.json": json.dumps({"add_source_eos": False}),
        "model.bin": "",
        "shared_vocabulary.json": "[]",
    },
    FolderKind.MODEL_FOLDER: {"config.json": json.dumps({"format_version": 3})},
    FolderKind.MARIAN: {"decoder.yml": "", "opus.npz": ""},
}


def make(folder: Path, kind: FolderKind) -> Path:
    folder.mkdir(parents=True)
    for name, content in FILES[kind].items():
        (folder / name).write_text(content)
    return folder


@pytest.mark.parametrize("kind", FolderKind)
def test_kinds_are_told_apart(tmp_path: Path, kind: FolderKind) -> None:
    folder = make(tmp_path / "a", kind)
    assert folder_kind(folder) is kind
    assert wrong_kind(folder, kind) is None


@pytest.mark.parametrize(
    ("kind", "command", "advice"),
    [
        (FolderKind.CHECKPOINT, "run -m {}", "`tfm export {} MODEL_FOLDER`"),
        (FolderKind.CHECKPOINT, "info {}", "`tfm export {} MODEL_FOLDER`"),
        (FolderKind.CHECKPOINT, "import {} new", "`tfm export {} MODEL_FOLDER`"),
        (FolderKind.HUGGING_FACE, "run -m {}", "`tfm import {} CHECKPOINT`, then `tfm export"),
        (FolderKind.HUGGING_FACE, "info {}", "`tfm import {} CHECKPOINT`, then `tfm export"),
        (FolderKind.HUGGING_FACE, "export {} new", "`tfm import {} CHECKPOINT`"),
        (FolderKind.HUGGING_FACE, "evaluate {} test.tsv", "`tfm import {} CHECKPOINT`"),
        (FolderKind.HUGGING_FACE, "convert {} new --to checkpoint", "`tfm import {} CHECKPOINT`"),
        (FolderKind.MODEL_FOLDER, "export {} new", "`tfm convert {} CHECKPOINT --to checkpoint`"),
        (FolderKind.MODEL_FOLDER, "import {} new", "`tfm run -m {}`"),
        (FolderKind.CTRANSLATE2, "run -m {}", "`tfm import {} CHECKPOINT`, then `tfm export"),
        (FolderKind.CTRANSLATE2, "export {} new", "`tfm import {} CHECKPOINT`"),
        (FolderKind.MARIAN, "evaluate {} test.tsv", "`tfm import {} CHECKPOINT`"),
        (FolderKind.MARIAN, "convert {} new --to transformers", "`tfm import {} CHECKPOINT`"),
    ],
)
def test_the_command_that_takes_it_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: FolderKind,
    command: str,
    advice: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("test.tsv").write_text("a\tb\n")
    folder = make(tmp_path / "a", kind)
    status, stdout, stderr = tfm(*(part.format(folder) for part in command.split()))
    assert (status, stdout, stderr.count("\n")) == (1, "", 1)
    assert stderr.startswith(f"Error: {folder} is {kind.value}, not ")
    assert advice.format(folder) in stderr
    assert not Path("new").exists()


def test_one_level_above_or_below(tmp_path: Path) -> None:
    cached = make(tmp_path / "models--a--b" / "snapshots" / "0f", FolderKind.HUGGING_FACE)
    hub = tmp_path / "models--a--b"
    assert (
        f"{cached} is a Hugging Face folder: did you mean that?"
        in tfm("import", str(hub), str(tmp_path / "new"))[2]
    )
    model = bundled_model()
    for folder in (model / "int8", model.parent):
        status, _, stderr = tfm("run", "-m", str(folder), "x")
        assert status == 1
        assert "is a model folder: did you mean that?" in stderr


@pytest.mark.parametrize(
    "config", ["", "[]", "{", "[" * 50_000, '{"a": ' + "9" * 5000 + "}", "\udcff"]
)
def test_a_config_that_cannot_be_read_is_of_no_kind(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_bytes(config.encode("utf-8", "surrogateescape"))
    assert folder_kind(tmp_path) is None
    assert wrong_kind(tmp_path, FolderKind.CHECKPOINT) is None
    assert folder_kind(tmp_path / "none") is None
