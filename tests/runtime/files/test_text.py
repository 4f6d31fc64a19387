"""Lines of text files: compressed ones read as plain ones do; what is wrong is said in one line."""

import gzip
import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.needs import needs_module

from tfm.runtime.errors import TfmError
from tfm.runtime.files.text import CHUNK_BYTES, read_lines

zstd = needs_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
WRITERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".xz": lzma.compress,
    ".gz": gzip.compress,
    ".zst": zstd.compress,
}


def write(folder: Path, data: bytes, suffix: str = "") -> Path:
    path = folder / f"a.txt{suffix}"
    path.write_bytes(WRITERS[suffix](data))
    return path


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        ("好\r\n\nb".encode(), ["好", "", "b"]),
        (b"a\x0bb\x85\n".replace(b"\x85", b"\xc2\x85"), ["a\x0bb\x85"]),  # no ends of lines
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\t\xef\xbb\xbfc\xef\xbb\xbf\n", ["a", "b\tc\ufeff"]),
        (b"\xef\xbb\xbf", [""]),
    ],
)
def test_lines(tmp_path: Path, suffix: str, data: bytes, lines: list[str]) -> None:
    assert list(read_lines(write(tmp_path, data, suffix))) == lines


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_of_many_reads(tmp_path: Path, suffix: str) -> None:
    lines = [f"{number} 好" for number in range(CHUNK_BYTES // 3)]
    assert list(read_lines(write(tmp_path, "\n".join(lines).encode(), suffix))) == lines


def test_lines_are_read_lazily(tmp_path: Path) -> None:
    lines = read_lines(write(tmp_path, b"a\n" * CHUNK_BYTES + b"\xff\n"))
    assert next(lines) == "a"


@pytest.mark.parametrize("suffix", WRITERS)
def test_what_is_not_utf8_is_named_with_its_line_and_byte(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path, b"a\nb\xe4\n", suffix)
    with pytest.raises(TfmError) as caught:
        list(read_lines(path))
    assert str(caught.value) == f"{path}, line 2 is not UTF-8 (byte 0xe4): convert the file"


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(TfmError, match=r"none\.txt: not found$"):
        list(read_lines(tmp_path / "none.txt"))
    with pytest.raises(TfmError, match="cannot be read: "):
        list(read_lines(tmp_path))


@pytest.mark.parametrize("suffix", [".xz", ".gz", ".zst"])
@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_archive(tmp_path: Path, suffix: str, cut: bool) -> None:
    path = write(tmp_path, b"a b c d\n" * 99, suffix)
    path.write_bytes(path.read_bytes()[:-9] if cut else b"not compressed")
    with pytest.raises(TfmError, match=f"a.txt{suffix} is damaged: ") as caught:
        list(read_lines(path))
    assert len(str(caught.value).splitlines()) == 1


def test_a_python_without_lzma(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, b"a\n", ".xz")
    monkeypatch.setitem(sys.modules, "lzma", None)
    with pytest.raises(TfmError, match="this Python has no lzma: decompress the file"):
        list(read_lines(path))


def test_a_python_without_zstd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, b"a\n", ".zst")
    for name in ("backports", "backports.zstd", "compression", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TfmError, match=r"a\.txt\.zst: to read it, pip install 'tfm\[zst\]'"):
        list(read_lines(path))
