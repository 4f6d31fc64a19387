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
    """Measures how much CPU time other processes take from now on; works on Linux only."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._all_s, self._own_s = _all_processes_s(), _this_process_s()

    def share(self) -> float | None:
        """Their share of all cores, 0 to 1; None where it is unknown.

        Child processes of this one must have ended: only then their time counts as our own.
        """
        all_s = _all_processes_s()
        if all_s is None or self._all_s is None:
            return None
        others = (all_s - self._all_s) - (_this_process_s() - self._own_s)
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


def _this_process_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
