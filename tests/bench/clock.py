"""CPU time, which other load on the machine hardly changes."""

import os
import time
from collections.abc import Callable

TRIES = 5
LEAST_S = 0.01  # of a try


def process_seconds() -> float:
    """CPU seconds of this process so far, all its threads, and its children that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of doing it once, in the best of several tries."""
    repeats = 1
    best = float("inf")
    for _ in range(TRIES):
        while True:
            start = time.process_time()
            for _ in range(repeats):
                work()
            seconds = time.process_time() - start
            if seconds >= LEAST_S:
                break
            repeats *= 2
        best = min(best, seconds / repeats)
    return best
