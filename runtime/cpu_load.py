"""How many cores other programs leave free."""

import os
import time
from pathlib import Path
from typing import NamedTuple

from .cpu import allowed_cores, allowed_cpus

_STAT = Path("/proc/stat")
SHORTEST_INTERVAL = 0.05  # seconds; the kernel counts in hundredths
_IDLE = slice(3, 5)  # columns of a processor: idle, and waiting for a disk
_ALL = slice(0, 8)  # those after it are parts of these


class _Look(NamedTuple):
    """What was counted at one moment, all in seconds.

    Attributes:
        time: of a clock
        busy: of this process's processors, by any program
        total: of the same processors, busy or not
        own: processor time of this process
    """

    time: float
    busy: float
    total: float
    own: float


class CpuLoad:
    """Measures how busy others keep the processors of this process between two looks.

    On Linux; elsewhere, and before anything is measured, others count as quiet. Safe to use from
    many threads.
    """

    def __init__(self, stat: Path = _STAT) -> None:
        self._stat = stat
        self._cpus = allowed_cpus()
        self._cores = allowed_cores()
        self._last = self._look()
        self._others = 0.0

    def free_cores(self) -> float:
        """The cores that this process may use, less what others have used since the last look."""
        before, now = self._last, None
        if before is not None and time.monotonic() - before.time >= SHORTEST_INTERVAL:
            now = self._look()
        if before is not None and now is not None and now.total > before.total:
            self._last = now
            share = (now.busy - before.busy) / (now.total - before.total)
            own = (now.own - before.own) / (now.time - before.time)
            # In a child of a fork, processor time begins at 0 again.
            self._others = max(0.0, share * len(self._cpus) - own) if own >= 0 else 0.0
        return self._cores - self._others

    def _look(self) -> _Look | None:
        """None where this cannot be measured."""
        try:
            lines = self._stat.read_text(encoding="ascii").splitlines()
            busy = total = 0
            for line in lines:
                name, *fields = line.split()
                if name.startswith("cpu") and name[3:].isdecimal() and int(name[3:]) in self._cpus:
                    counts = [int(field) for field in fields[_ALL]]
                    total += sum(counts)
                    busy += sum(counts) - sum(counts[_IDLE])
        except (OSError, ValueError):
            return None
        if not total:
            return None
        ticks = os.sysconf("SC_CLK_TCK")
        return _Look(time.monotonic(), busy / ticks, total / ticks, time.process_time())
