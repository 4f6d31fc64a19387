"""What is written is there whole or not at all, and nothing is left beside it."""

import os
from pathlib import Path

import pytest

from tfm.runtime.errors import TfmError
from tfm.runtime.files.atomic import new_folder, replace_file, write_bytes, write_text


class Failure(Exception):
    pass


def test_text_and_bytes(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "好\r\n")
    assert (tmp_path / "a").read_bytes() == "好\r\n".encode()
    write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(Failure), replace_file(tmp_path / "a") as partial:
        partial.write_text("half of")
        raise Failure
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_text_that_cannot_be_encoded_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a", "new \ud800")
    assert (tmp_path / "a").read_text() == "old"


def test_the_content_is_on_the_disk_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("fsync"))
    monkeypatch.setattr(os, "replace", lambda *a: (calls.append("replace"), replace(*a)))
    write_text(tmp_path / "a", "text")
    assert calls == ["fsync", "replace"]


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "b" / "a.partial").mkdir(parents=True)
    (tmp_path / "b" / "a.partial" / "stale").touch()
    with new_folder(tmp_path / "b" / "a") as partial:
        (partial / "file").touch()
        assert not (tmp_path / "b" / "a").exists()
    assert os.listdir(tmp_path / "b") == ["a"]
    assert os.listdir(tmp_path / "b" / "a") == ["file"]


def test_a_folder_that_fails(tmp_path: Path) -> None:
    with pytest.raises(Failure), new_folder(tmp_path / "a") as partial:
        (partial / "file").touch()
        raise Failure
    assert os.listdir(tmp_path) == []


def test_two_processes_that_make_one_folder(tmp_path: Path) -> None:
    with new_folder(tmp_path / "a") as partial:
        (partial / "first").touch()
        # A lock is that of an open file: a second one in this process is as good as another's.
        with (
            pytest.raises(TfmError, match="a: another process is writing it"),
            new_folder(tmp_path / "a"),
        ):
            pass
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "first"]
    with new_folder(tmp_path / "b"):
        pass
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
