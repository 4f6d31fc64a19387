"""Offline means offline: onnxruntime's telemetry is off, and nothing is written or asked."""

import os
import sys
from pathlib import Path

import pytest
from helpers.command import python

SEE_WHAT_IT_LEAVES = """
import os
from pathlib import Path
from tfm.runtime import Translator

translator = Translator(intra_threads=1)
translator.translate_batch(["我爱你。"] * 3)
translator.translate("我爱你。", no_repeat_ngram_size=3)
sockets = [
    link
    for name in os.listdir("/proc/self/fd")
    if os.path.islink(path := f"/proc/self/fd/{name}")
    and (link := os.readlink(path)).startswith("socket:")
]
print("threads", len(os.listdir("/proc/self/task")), "sockets", sockets)
"""


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An empty home, and nothing said about telemetry."""
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    # numpy's own threads are not what is counted here.
    return {"HOME": str(tmp_path), "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_translating_writes_nothing_and_asks_nobody(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    done = python(SEE_WHAT_IT_LEAVES, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "threads 1 sockets []\n"
    assert os.listdir(tmp_path) == []


def test_the_command_writes_nothing_into_the_home_folder(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    code = "from tfm.runtime.commands.cli import cli; cli(['run', '我爱你。'])"
    done = python(code, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "package", ["tfm", "tfm.runtime", "tfm.export", "tfm.trainer", "tfm_bench"]
)
def test_every_package_turns_it_off_first(package: str, environment: dict[str, str]) -> None:
    code = f"import os, {package}; import tfm.runtime.device; print(os.environ[{VARIABLE!r}])"
    assert python(code, **environment).stdout == "1\n"


def test_what_the_user_said_holds(environment: dict[str, str]) -> None:
    code = f"import os, tfm.runtime; print(os.environ[{VARIABLE!r}])"
    assert python(code, **environment, ORT_DISABLE_TELEMETRY="0").stdout == "0\n"


VARIABLE = "ORT_DISABLE_TELEMETRY"
