"""Lines without end, pipes and devices where a file is expected: one line of error, at once."""

import lzma
import os
import time
from pathlib import Path

import pytest
from helpers.command import tfm

from tfm.runtime.bundled import bundled_model
from tfm.runtime.config import ModelConfig
from tfm.runtime.errors import ModelError, TfmError
from tfm.runtime.files.regular import check_regular, read_regular
from tfm.runtime.files.text import MAX_LINE_BYTES, read_chunks, read_lines

needs_posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")


class Endless:
    """Bytes without an end of line, counted."""

    def __init__(self) -> None:
        self.given = 0

    def read1(self, size: int = -1, /) -> bytes:
        self.given += size
        return bytes(size)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """Nobody writes to it."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_a_line_without_end_is_refused_after_the_limit() -> None:
    stream = Endless()
    with pytest.raises(TfmError, match=r"^x, line 1 is longer than 1048576 bytes: split it"):
        list(read_chunks(stream, "x"))
    assert stream.given <= MAX_LINE_BYTES + (1 << 17)


def test_the_lines_before_a_long_one_come_first_and_the_limit_is_exact(tmp_path: Path) -> None:
    longest = "a" * MAX_LINE_BYTES
    path = tmp_path / "in"
    path.write_text(f"one\n{longest}\nthree\n")
    assert list(read_lines(path)) == ["one", longest, "three"]
    path.write_text(f"one\n{longest}a\nthree\n")
    lines = read_lines(path)
    assert next(lines) == "one"
    with pytest.raises(TfmError, match="line 2 is longer than"):
        next(lines)


def test_a_small_archive_of_one_huge_line_takes_no_time(tmp_path: Path) -> None:
    path = tmp_path / "in.xz"
    with lzma.open(path, "wb", preset=0) as file:
        for _ in range(30):
            file.write(b"a" * (1 << 20))
    start = time.process_time()
    status, stdout, stderr = tfm("run", "-i", str(path))
    assert (status, stdout) == (1, "")
    assert (
        stderr == f"Error: {path}, line 1 is longer than 1048576 bytes: split it into sentences\n"
    )
    assert time.process_time() - start < 5


@needs_posix
def test_a_pipe_is_no_file(pipe: Path, tmp_path: Path) -> None:
    with pytest.raises(TfmError, match="pipe: cannot be read: it is a pipe, not a regular file"):
        list(read_lines(pipe))
    with pytest.raises(OSError, match="it is a device, not a regular file"):
        check_regular("/dev/zero")
    with pytest.raises(OSError, match="it is a folder, not a regular file"):
        read_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none")
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ModelError, match="it is a pipe, not a regular file"):
        ModelConfig.load(tmp_path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(10))
    assert read_regular(path, 10) == bytes(10)
    with pytest.raises(OSError, match="it has more than 9 bytes"):
        read_regular(path, 9)


@needs_posix
@pytest.mark.parametrize("command", ["evaluate", "against"])
def test_commands_do_not_wait_for_a_pipe(pipe: Path, tmp_path: Path, command: str) -> None:
    test = tmp_path / "test.tsv"
    test.write_text("我爱你。\tI love you.\n", "utf-8")
    arguments = {
        "evaluate": [str(pipe)],
        "against": [str(test), "--against", str(pipe)],
    }[command]
    status, stdout, stderr = tfm("evaluate", str(bundled_model()), *arguments)
    assert (status, stdout, stderr.count("\n")) == (1, "", 1)
    assert "it is a pipe, not a regular file" in stderr


@needs_posix
def test_a_pipe_will_do_for_run(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, "我爱你。\n".encode())
    os.close(writer)
    try:
        assert tfm("run", "-i", f"/dev/fd/{reader}") == (0, "I love you.\n", "")
    finally:
        os.close(reader)
