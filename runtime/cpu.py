"""How many processors this process may use, and how many threads it should compute with."""

import logging
import os
import threading
from pathlib import Path

logger = logging.getLogger(__name__)

_CGROUPS = Path("/sys/fs/cgroup")
_CPUS = Path("/sys/devices/system/cpu")


def usable_cpus() -> int:
    """Processors that this process may use, at least 1: hardware threads of the machine, fewer
    where an affinity mask (taskset, a cpuset) or a CPU quota (a container) allows fewer."""
    cpus = len(allowed_cpus()) or os.cpu_count() or 1
    quota = cgroup_quota()
    return cpus if quota is None else max(1, min(cpus, int(quota)))


def usable_cores() -> int:
    """Like `usable_cpus`, but two hardware threads of one core count once: computing with both
    is slower than with one."""
    return min(usable_cpus(), allowed_cores())


def allowed_cores() -> int:
    """Cores of this process's affinity mask, at least 1, whatever share of their time it may
    use."""
    siblings = {_siblings(cpu) for cpu in allowed_cpus()}
    return len(siblings) or os.cpu_count() or 1


def allowed_cpus() -> frozenset[int]:
    """Numbers of the processors in this process's affinity mask; empty where the system has no
    such mask."""
    try:
        return frozenset(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # macOS and Windows have none
        return frozenset()


def cgroup_quota(
    root: Path = _CGROUPS, membership: Path = Path("/proc/self/cgroup")
) -> float | None:
    """CPU time that the control groups of this process allow, in processors; None is no limit.

    Both versions of control groups are read; the tightest limit on the way to the root counts.
    """
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    quotas = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:
            folder, read = root, _quota_v2
        elif "cpu" in controllers.split(","):
            folder, read = root / "cpu", _quota_v1
        else:
            continue
        parts = [part for part in group.split("/") if part not in {"", "..", "."}]
        # In a container the path may be that of the host: the mounted root still has the limit.
        levels = [folder.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
        quotas += [quota for level in levels if (quota := read(level)) is not None]
    return min(quotas, default=None)


def choose_threads(requested: int) -> int:
    """The number of threads to compute with.

    Fewer than requested are chosen, with a warning, where the process may not use as many
    processors, or where the system does not let it start as many threads.

    Args:
        requested: 0 is one for each core that this process may use

    Raises:
        ValueError: requested is negative
    """
    if requested < 0:
        raise ValueError(f"intra_threads is {requested}: 0 (chosen by the load) or more")
    allowed = usable_cpus() if requested else usable_cores()
    wanted = min(requested or allowed, allowed)
    threads = _startable(wanted)
    if threads < wanted:
        logger.warning(
            "using %d of %d threads: the system lets this process start no more (ulimit -u)",
            threads,
            wanted,
        )
    elif wanted < requested:
        logger.warning(
            "using %d of %d threads: this process may use no more processors", wanted, requested
        )
    return threads


def _startable(threads: int) -> int:
    """How many of the threads can be started, the calling one among them.

    onnxruntime waits for ever for a thread that it could not start: try it before.
    """
    release = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(threads - 1):  # the calling thread computes too
            thread = threading.Thread(target=release.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        pass
    finally:
        release.set()
        for thread in started:
            thread.join()
    return len(started) + 1


def _siblings(cpu: int) -> str:
    """Hardware threads of this one's core, such as "0,4"; the processor itself if unknown."""
    try:
        path = _CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return str(cpu)


def _quota_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()[:2]
        return float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max" is no limit
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period = int((folder / "cpu.cfs_period_us").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None
