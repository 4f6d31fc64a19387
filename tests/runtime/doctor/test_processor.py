"""Processors and memory: what the system says, in our words."""

import json
import os
import sys
from pathlib import Path

import pytest
from helpers.command import python

from tfm.runtime.doctor import processor
from tfm.runtime.doctor.finding import Level

X86 = "cpu: 0\nflags\t\t: fpu avx2 avx512f avx512_vnni\n\ncpu: 1\nflags\t\t: fpu avx2 {}\n"
ARM = "processor: 0\nFeatures\t: fp asimd asimddp i8mm\n"


@pytest.mark.parametrize(
    ("cpuinfo", "sets"),
    [
        (X86.format("avx512f avx512_vnni"), ["AVX2", "AVX-512", "AVX512-VNNI"]),
        (X86.format(""), ["AVX2"]),  # what one processor lacks, a thread cannot count on
        (ARM, ["NEON", "dotprod", "i8mm"]),
        ("flags : fpu sse2\n", []),
        ("nothing of the kind\n", None),
        (None, None),
    ],
)
@pytest.mark.skipif(sys.platform == "darwin", reason="reads /proc/cpuinfo")
def test_instruction_sets(tmp_path: Path, cpuinfo: str | None, sets: list[str] | None) -> None:
    path = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        path.write_text(cpuinfo)
    assert processor.instruction_sets(path) == sets


def test_what_instruction_sets_mean() -> None:
    assert "AVX-VNNI" in processor.int8_meaning(["AVX2", "AVX-VNNI"])[0]
    assert "16-bit" in processor.int8_meaning(["AVX2"])[0]
    assert "dotprod" in processor.int8_meaning(["NEON"])[0]
    meaning, advice = processor.int8_meaning([])
    assert (meaning, "--variant fp32" in advice) == ("int8 is slow here", True)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs an affinity mask")
def test_a_process_that_may_use_one_processor() -> None:
    cpu = min(os.sched_getaffinity(0))
    done = python(
        f"import os; os.sched_setaffinity(0, {{{cpu}}})\n"
        "import json\n"
        "from tfm.runtime.doctor.processor import threads_finding\n"
        "found = threads_finding()\n"
        "print(json.dumps([found.message, dict(found.facts)]))\n"
    )
    assert done.stderr == ""
    message, facts = json.loads(done.stdout)
    assert (facts["affinity"], facts["usable_cpus"], facts["threads"]) == ([cpu], 1, 1)
    assert message.startswith("1: the machine has ")
    if (os.cpu_count() or 1) > 1:
        assert "its affinity mask has 1" in message


def test_a_container_with_half_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfm.runtime.cpu.cgroup_quota", lambda: 0.5)
    monkeypatch.setattr(processor, "cgroup_quota", lambda: 0.5)
    found = processor.threads_finding()
    assert (found.level, found.facts["threads"]) == (Level.WARNING, 1)
    assert "its control group allows the time of 0.5" in found.message


def test_threads_that_the_system_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "usable_cores", lambda: 4)
    monkeypatch.setattr(processor, "choose_threads", lambda _: 2)
    found = processor.threads_finding()
    assert (found.level, "ulimit -u" in found.advice) == (Level.WARNING, True)


@pytest.mark.parametrize(
    ("membership", "files", "limit"),
    [
        ("0::/a/b\n", {"a/memory.max": "1000000", "a/b/memory.max": "2000000"}, 1000000),
        ("0::/a\n", {"a/memory.max": "max\n"}, None),
        ("5:memory:/x\n", {"memory/x/memory.limit_in_bytes": "5000"}, 5000),
        ("5:memory:/x\n", {"memory/x/memory.limit_in_bytes": str((1 << 63) - 4096)}, None),
        ("5:cpu:/x\n", {"cpu/x/memory.limit_in_bytes": "5000"}, None),
    ],
)
def test_memory_of_control_groups(
    tmp_path: Path, membership: str, files: dict[str, str], limit: int | None
) -> None:
    (tmp_path / "cgroup").write_text(membership)
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text)
    assert processor.memory_limit(tmp_path / "root", tmp_path / "cgroup") == limit


def test_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:   8000 kB\n")
    assert processor.available_memory(tmp_path / "meminfo") == 8000 * 1024
    assert processor.available_memory(tmp_path / "none") is None
    monkeypatch.setattr(processor, "available_memory", lambda: 8000 * 1024)
    assert processor.memory_finding().level is Level.WARNING
