"""The machine, the versions, and how busy other processes kept the machine meanwhile."""

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tfm.runtime.device import load_onnxruntime

PACKAGES = ("ctranslate2", "optimum-onnx", "transformers", "torch")


def versions() -> str:
    """Names and versions of the measured packages that are installed."""
    packages = [f"tfm {version('tfm')}", f"onnxruntime {load_onnxruntime().__version__}"]
    for package in PACKAGES:
        try:
            packages.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(packages)


def processor() -> str:
    """The CPU's name and the number of cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


class OtherProcesses:
    """Measures how much CPU time other processes take from now on; works on Linux only.

    This process and its children do not count: workers and busy neighbours (busy.py) are ours.
    """

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._all_s, self._own_s = _all_processes_s(), _own_processes_s()

    def share(self) -> float | None:
        """Their share of all cores, 0 to 1; None where it is unknown."""
        all_s, own_s = _all_processes_s(), _own_processes_s()
        if all_s is None or own_s is None or self._all_s is None or self._own_s is None:
            return None
        others = (all_s - self._all_s) - (own_s - self._own_s)
        available = (time.perf_counter() - self._start) * (os.cpu_count() or 1)
        return max(0.0, others / available)


def _all_processes_s() -> float | None:
    """CPU seconds of all processes since the machine was started."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    user, nice, system, _idle, _wait, interrupts, soft, stolen = map(
        int, stat.read_text("utf-8").split()[1:9]
    )
    ticks = user + nice + system + interrupts + soft + stolen
    return ticks / os.sysconf("SC_CLK_TCK")


def _own_processes_s() -> float | None:
    """CPU seconds of this process and its children, living or ended; None where it is unknown."""
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    try:
        threads = list(Path("/proc/self/task").iterdir())
        children = [pid for thread in threads for pid in (thread / "children").read_text().split()]
        return own + sum(_process_s(pid) for pid in children)
    except OSError:
        return None


def _process_s(pid: str) -> float:
    """CPU seconds of a process and of its children that have ended."""
    # The name, in brackets, may hold spaces and brackets itself.
    fields = Path("/proc", pid, "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
