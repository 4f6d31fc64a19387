"""What the measurements ran on, and what else ran there meanwhile."""

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tfm.runtime.device import load_onnxruntime

PACKAGES = ("ctranslate2", "optimum-onnx", "transformers", "torch")


def versions() -> str:
    """Of the packages that take part and are installed."""
    found = [f"tfm {version('tfm')}", f"onnxruntime {load_onnxruntime().__version__}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def processor() -> str:
    """The CPU's own name, and how many cores there are."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


class Neighbours:
    """How much CPU time other processes take from now on; only Linux tells."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._everyone, self._own = _everyone_s(), _own_s()

    def share(self) -> float | None:
        """Of all cores, 0 to 1, once all child processes have ended; None where unknown."""
        everyone = _everyone_s()
        if everyone is None or self._everyone is None:
            return None
        others = (everyone - self._everyone) - (_own_s() - self._own)
        available = (time.perf_counter() - self._start) * (os.cpu_count() or 1)
        return max(0.0, others / available)


def _everyone_s() -> float | None:
    """Seconds that any process has computed since the machine was started."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    user, nice, system, _idle, _wait, interrupts, soft, stolen = map(
        int, stat.read_text("utf-8").split()[1:9]
    )
    ticks = user + nice + system + interrupts + soft + stolen
    return ticks / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    """Seconds that this process and its ended children have computed."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
