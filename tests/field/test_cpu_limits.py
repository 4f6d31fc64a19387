"""Containers, cpusets and limits on threads: never more threads than processors to use."""

import logging
import os
import threading
from pathlib import Path

import pytest
from helpers.command import python

from tfm.runtime import cpu


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000"}, 0.5),
        ("0::/a\n", {"a/cpu.max": "400000 100000", "cpu.max": "200000 100000"}, 2),
        ("0::/host/path\n", {"cpu.max": "100000 100000"}, 1),  # seen from within a container
        ("0::/../x\n", {"cpu.max": "100000 100000"}, 1),
        ("4:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "250000"}, 2.5),
        ("4:cpu:/x\n", {"cpu/cpu.cfs_quota_us": "-1"}, None),
        ("5:memory:/x\n", {"cpu/cpu.cfs_quota_us": "100000"}, None),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
        ("0::/\n", {"cpu.max": ""}, None),
        ("nonsense\n\n", {}, None),
        (None, {}, None),
    ],
)
def test_quotas_of_control_groups(
    tmp_path: Path, membership: str | None, files: dict[str, str], quota: float | None
) -> None:
    if membership is not None:
        (tmp_path / "cgroup").write_text(membership)
    root = tmp_path / "root"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
        if name.endswith("quota_us"):
            (root / name).with_name("cpu.cfs_period_us").write_text("100000")
    assert cpu.cgroup_quota(root, tmp_path / "cgroup") == quota


@pytest.mark.parametrize(("quota", "usable"), [(None, 8), (0.5, 1), (1.9, 1), (4.0, 4), (99, 8)])
def test_the_tighter_limit_counts(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, usable: int
) -> None:
    monkeypatch.setattr(cpu, "allowed_cpus", lambda: frozenset(range(8)))
    monkeypatch.setattr(cpu, "cgroup_quota", lambda: quota)
    assert cpu.usable_cpus() == usable
    monkeypatch.setattr(cpu, "_siblings", lambda number: f"{number % 4},{number % 4 + 4}")
    assert cpu.usable_cores() == min(usable, 4)
    assert cpu.choose_threads(0) == min(usable, 4)


def test_more_threads_than_processors(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cpu, "usable_cpus", lambda: 2)
    assert cpu.choose_threads(2) == 2
    assert caplog.text == ""
    assert cpu.choose_threads(1024) == 2
    assert "using 2 of 1024 threads: this process may use no more processors" in caplog.text


def test_threads_that_cannot_be_started(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begin = threading.Thread.start
    started: list[threading.Thread] = []

    def start(thread: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        begin(thread)

    monkeypatch.setattr(cpu, "usable_cpus", lambda: 8)
    monkeypatch.setattr(threading.Thread, "start", start)
    with caplog.at_level(logging.WARNING):
        assert cpu.choose_threads(8) == 3
    assert "using 3 of 8 threads: the system lets this process start no more" in caplog.text
    assert not any(thread.is_alive() for thread in started)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no cpusets")
@pytest.mark.parametrize("threads", [0, 2, 64])
def test_on_one_processor_of_several(threads: int) -> None:
    done = python(
        "import os; os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})\n"
        "from tfm.runtime import Translator\n"
        f"translator = Translator(intra_threads={threads})\n"
        "print(translator.translate('我爱你。').text, translator.sessions.threads)"
    )
    assert done.stdout == "I love you. 1\n"
    assert "affinity" not in done.stderr
    assert ("using 1 of" in done.stderr) == (threads > 1)
