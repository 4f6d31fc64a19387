"""How many threads a training on a CPU computes with, and when to take fewer.

Threads wait for each other many times in a step. Beside other programs that want the same
processors, that can make two threads twenty times as slow as one. So a training watches how much
of its processors it gets; if that is little, it tries a step with fewer threads, and keeps what is
faster. Later it tries again whether more are faster.
"""

import logging
import time
from collections.abc import Callable

import torch

from tfm.runtime.cpu import usable_cores

logger = logging.getLogger(__name__)

WINDOW_SECONDS, WINDOW_STEPS = 3.0, 2  # to look at together, at least
BUSY_BELOW = 0.7  # of the processors' time
TRIAL_SECONDS = 0.3
FASTER = 1.2  # times, to be worth a change
FIRST_PAUSE, LONGEST_PAUSE = 60.0, 2400.0  # seconds between two trials


def default_threads() -> int:
    """torch's own choice, but no more than cores that this process may use."""
    return min(torch.get_num_threads(), usable_cores())


class ThreadWatch:
    """Chooses the number of threads while a training runs, by the steps it is told of."""

    def __init__(
        self,
        most: int,
        *,
        set_threads: Callable[[int], None] = torch.set_num_threads,
        wall_clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        """Begin with the most threads there may be.

        Args:
            wall_clock: seconds
            cpu_clock: seconds of processor time of all threads of this process
        """
        self.most = self.threads = most
        self._set_threads, self._wall_clock, self._cpu_clock = set_threads, wall_clock, cpu_clock
        self._pause, self._next_trial = FIRST_PAUSE, wall_clock()
        self._speeds: dict[int, float] = {}  # of a trial, by the number of threads
        self._untried: list[int] = []
        self._wall = self._cpu = self._work = 0.0
        self._steps = 0
        self._began = 0.0, 0.0
        set_threads(most)

    def begin_step(self) -> None:
        """Look at the clocks."""
        self._began = self._wall_clock(), self._cpu_clock()

    def end_step(self, number: int, work: int) -> None:
        """Add the step; for the next one, the number of threads may be another.

        Args:
            number: of the step, for the log
            work: how much it computed, in FLOPs
        """
        wall, cpu = self._began
        self._wall += self._wall_clock() - wall
        self._cpu += self._cpu_clock() - cpu
        self._work += work
        self._steps += 1
        if self._untried:
            if self._wall >= TRIAL_SECONDS:
                self._next_of_trial(number)
        elif self._wall >= WINDOW_SECONDS and self._steps >= WINDOW_STEPS:
            self._look()

    def _look(self) -> None:
        """At the end of a window: begin a trial where one may help."""
        is_busy = self._cpu < BUSY_BELOW * self.threads * self._wall
        fewer = [n for n in (self.threads // 2, 1) if 1 <= n < self.threads] if is_busy else []
        more = [] if self.threads == self.most else [self.most]
        self._untried = list(dict.fromkeys(fewer + more))
        speed = self._forget()
        if self._wall_clock() < self._next_trial:
            self._untried = []
        if self._untried:
            self._speeds = {self.threads: speed}
            self._set_threads(self._untried[0])

    def _next_of_trial(self, number: int) -> None:
        self._speeds[self._untried.pop(0)] = self._forget()
        if self._untried:
            self._set_threads(self._untried[0])
            return
        best = max(self._speeds, key=lambda threads: self._speeds[threads])
        gain = self._speeds[best] / self._speeds[self.threads]
        if gain >= FASTER:
            logger.warning(
                "from step %d on: %d instead of %d CPU threads, %.1f times as fast beside what "
                "else runs here; the order of sums changes, and with it their last digits "
                "(--threads keeps a number)",
                number + 1,
                best,
                self.threads,
                gain,
            )
            self.threads, self._pause = best, FIRST_PAUSE
        else:
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self._next_trial = self._wall_clock() + self._pause
        self._set_threads(self.threads)

    def _forget(self) -> float:
        """Begin anew to measure; returns the speed until now, in FLOPs per second."""
        speed = self._work / max(self._wall, 1e-9)
        self._wall = self._cpu = self._work = 0.0
        self._steps = 0
        return speed
