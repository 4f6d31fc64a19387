"""Findings about the processors and the memory that this process may use."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tfm.runtime.cpu import allowed_cpus, cgroup_quota, choose_threads, usable_cores, usable_cpus
from tfm.runtime.cpu_load import CpuLoad

from .finding import Finding, ok, warning

_CPUINFO = Path("/proc/cpuinfo")
_MEMINFO = Path("/proc/meminfo")
_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_LOOK_SECONDS = 0.3
_LITTLE_MEMORY = 256 << 20  # bytes; what the bundled models need, with much to spare
_NO_LIMIT = 1 << 60  # bytes; beyond it, a limit of a control group is none

# Names of instruction sets by the systems' names of them. Linux writes them in /proc/cpuinfo,
# macOS in the names of sysctl.
_SETS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX512-VNNI",
    "avx_vnni": "AVX-VNNI",
    "amx_int8": "AMX-INT8",
    "asimd": "NEON",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "hw.optional.avx2_0": "AVX2",
    "hw.optional.avx512f": "AVX-512",
    "hw.optional.avx512vnni": "AVX512-VNNI",
    "hw.optional.neon": "NEON",
    "hw.optional.arm.FEAT_DotProd": "dotprod",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
}
_INT8_SETS = frozenset(("AVX512-VNNI", "AVX-VNNI", "AMX-INT8", "dotprod", "i8mm"))


def threads_finding() -> Finding:
    """How many threads tfm would compute with here, and what limits them."""
    in_machine, affinity, quota = os.cpu_count() or 1, allowed_cpus(), cgroup_quota()
    cores = usable_cores()
    load = CpuLoad()
    time.sleep(_LOOK_SECONDS)
    free = load.free_cores()
    startable = choose_threads(0)
    facts = {
        "machine": in_machine,
        "affinity": sorted(affinity),
        "quota": quota,
        "usable_cpus": usable_cpus(),
        "usable_cores": cores,
        "free_cores": round(free, 2),
        "threads": startable,
    }
    text = f"{startable}: the machine has {in_machine} processors, this process may use"
    text += f" {usable_cpus()} (cores: {cores}), of which others leave {max(free, 0):.1f} free"
    limits = []
    if affinity and len(affinity) < in_machine:
        limits.append(f"its affinity mask has {len(affinity)}")
    if quota is not None:
        limits.append(f"its control group allows the time of {quota:g}")
    text += f"; {', '.join(limits)}" if limits else ""
    if startable < cores:
        advice = "raise the limit on processes (ulimit -u, or the container's pids limit)"
        return warning("threads", text + "; the system starts no more", advice, **facts)
    if quota is not None and quota < 1:
        advice = "give the container a whole processor, or expect pauses"
        return warning("threads", text, advice, **facts)
    return ok("threads", text, **facts)


def instructions_finding() -> Finding:
    """Which instruction sets the processor has, and what they mean for int8."""
    names = instruction_sets()
    if names is None:
        return ok("instructions", "this system does not say which the processor has")
    listed = ", ".join(names) or "neither AVX2 nor NEON"
    meaning, advice = int8_meaning(names)
    if advice:
        return warning("instructions", f"{listed}: {meaning}", advice, sets=names)
    return ok("instructions", f"{listed}: {meaning}", sets=names)


def int8_meaning(names: list[str]) -> tuple[str, str]:
    """What sets of instructions mean for int8, and what to do about it."""
    if found := [name for name in names if name in _INT8_SETS]:
        return f"int8 products have instructions of their own ({', '.join(found)})", ""
    if "AVX2" in names:
        return (
            "int8 products go by way of 16-bit numbers, which is right but slower than with VNNI",
            "",
        )
    if "NEON" in names:
        return "int8 products are slower than with dotprod", ""
    return "int8 is slow here", "compare it with another variant: tfm run --variant fp32"


def instruction_sets(cpuinfo: Path = _CPUINFO) -> list[str] | None:
    """Those that matter here and that the processor has; None where the system does not say."""
    if sys.platform == "darwin":
        return _from_sysctl()
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    lines = re.findall(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    if not lines:
        return None
    flags = set.intersection(*(set(line.split()) for line in lines))  # of every processor
    return _named(flags)


def _from_sysctl() -> list[str] | None:
    names = [name for name in _SETS if name.startswith("hw.")]
    try:
        done = subprocess.run(["sysctl", *names], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = (line.partition(":") for line in done.stdout.splitlines())
    return _named({name for name, _, value in lines if value.strip() == "1"})


def _named(flags: set[str]) -> list[str]:
    return list(dict.fromkeys(name for flag, name in _SETS.items() if flag in flags))


def memory_finding() -> Finding:
    """How much memory there is for this process."""
    available, limit = available_memory(), memory_limit()
    sizes = [size for size in (available, limit) if size is not None]
    if not sizes:
        return ok("memory", "this system does not say how much is free")
    text = [] if available is None else [f"{available / 1e6:.0f} MB available"]
    text += [] if limit is None else [f"its control group allows {limit / 1e6:.0f} MB"]
    facts = {"available_bytes": available, "limit_bytes": limit}
    if min(sizes) < _LITTLE_MEMORY:
        return warning("memory", ", ".join(text), "free some: end other programs", **facts)
    return ok("memory", ", ".join(text), **facts)


def available_memory(meminfo: Path = _MEMINFO) -> int | None:
    """Bytes that programs may still have without swapping; None where the system does not say."""
    try:
        match = re.search(r"^MemAvailable:\s*(\d+) kB", meminfo.read_text("ascii"), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        return None
    return int(match[1]) * 1024 if match else None


def memory_limit(root: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int | None:
    """Bytes that the control groups of this process allow, the tightest limit on the way to the
    root; None is no limit."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    limits = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        folder = root / "memory" if controllers else root
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        parts = [part for part in group.split("/") if part not in {"", ".", ".."}]
        for depth in range(len(parts) + 1):
            limits.append(_number(folder.joinpath(*parts[:depth], name)))
    return min((limit for limit in limits if limit is not None and limit < _NO_LIMIT), default=None)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # "max" is no limit
        return None
