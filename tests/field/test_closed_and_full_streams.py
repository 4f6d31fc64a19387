"""stdin, stdout and stderr that are closed, full or of another encoding: one line, no traceback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tfm.runtime.bundled import bundled_model

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command in which `tfm` is the program."""
    return subprocess.run(
        ["sh", "-c", f'tfm() {{ "$PYTHON" -m tfm.runtime "$@"; }}\n{command}'],
        env={**os.environ, "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=60,
    )


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("tfm run <&-", "Error: stdin is closed\n"),
        ("tfm info >&-", "Error: stdout is closed\n"),
        ("tfm info >/dev/full", "Error: stdout: No space left on device\n"),
        ("tfm --help >/dev/full", "Error: stdout: No space left on device\n"),
    ],
)
def test_a_stream_that_cannot_be_used_is_one_error(command: str, message: str) -> None:
    if "/dev/full" in command and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    done = shell(command)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", "<&- >&- 2>&-"])
def test_messages_that_cannot_be_written_end_no_translation(tmp_path: Path, closed: str) -> None:
    done = shell(f"tfm run -v -o '{tmp_path}/out' '我爱你。' {closed}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "out").read_text("utf-8") == "I love you.\n"


def test_a_name_that_stdout_cannot_encode_is_escaped(tmp_path: Path) -> None:
    config = json.loads((bundled_model() / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, "name": "谢谢"}), "utf-8")
    for encoding, name in (("cp1252", r"\u8c22\u8c22"), ("utf-8", "谢谢")):
        done = shell(f"tfm info '{tmp_path}'", PYTHONIOENCODING=encoding)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[0].split() == ["model", name]
    as_json = shell(f"tfm info --json '{tmp_path}'", PYTHONIOENCODING="cp1252")
    assert json.loads(as_json.stdout)["name"] == "谢谢"


def test_arguments_are_utf8_whatever_the_locale() -> None:
    ascii_locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = shell("tfm run '我爱你。'", **ascii_locale)
    assert (done.returncode, done.stdout, done.stderr) == (0, "I love you.\n", "")


def test_a_folder_whose_name_is_not_utf8_is_shown(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    shutil.copytree(bundled_model(), folder)
    done = shell(f"tfm info '{folder}'")
    assert (done.returncode, done.stderr) == (0, "")
    assert rf"{tmp_path}/\udcff" in done.stdout
    done = shell(f"tfm run -m '{folder}' x")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
    assert "not UTF-8" in done.stderr
