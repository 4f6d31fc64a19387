"""Threads that work on parts of a text side by side.

Operators that share their work between threads wait for one another after each of them, which
costs a small model more than it gains, and most beside other programs. Threads that each translate
sentences of their own never wait, and they use the same weights.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from . import run_gate
from .cpu import usable_cpus
from .cpu_load import CpuLoad

logger = logging.getLogger(__name__)

_START_SECONDS = 0.5

Item = TypeVar("Item")
Result = TypeVar("Result")

# Identifiers of all threads of this process that work. Without a lock, which a fork may find held.
_working: list[int] = []


def both(first: Callable[[], Item], second: Callable[[], Result]) -> tuple[Item, Result]:
    """What two functions return, which run at the same time where there is more than one
    processor.

    Raises:
        whatever the first raises, or else the second
    """
    found: list[Any] = Workers(2).map(_call, [first, second], min(2, usable_cpus()))
    return found[0], found[1]


def _call(function: Callable[[], Any]) -> Any:
    return function()


class Workers:
    """How many threads may work at once, and the work itself. Safe to use from many threads.

    No thread outlives the call that it works for.

    Attributes:
        limit: the most threads that work at once for one call, the calling one among them
    """

    def __init__(self, limit: int, load: CpuLoad | None = None) -> None:
        """Say how many.

        Args:
            limit: as above
            load: use fewer while other programs, and other calls in this process, keep the cores
                busy; None uses as many as the limit says whatever others do
        """
        self.limit = limit
        self._load = load if limit > 1 else None

    def available(self) -> int:
        """How many threads, the calling one among them, should begin to work now."""
        if self._load is None:
            return self.limit
        return max(1, min(self.limit, round(self._load.free_cores() - len(_working))))

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item], threads: int
    ) -> list[Result]:
        """The function's results, in the order of the items.

        Args:
            threads: how many may work at once, the calling one among them; they begin with the
                items in their order. While the process ends it is one

        Raises:
            whatever the function raises for the first item at which it fails; every thread then
            finishes the item it is at, and begins no other
        """
        if run_gate.gate.has_ended:  # no other thread could run
            threads = 1
        queue = _Queue(function, items)
        helpers: list[threading.Thread] = []
        try:
            for _ in range(min(threads, len(items)) - 1):
                # Known before it starts: a Ctrl-C in between must not lose it.
                helpers.append(threading.Thread(target=self._help, args=(queue,), daemon=True))
                try:
                    helpers[-1].start()
                except RuntimeError as error:  # no more threads: a limit of the system, or its end
                    helpers.pop()
                    logger.info("translating with %d threads: %s", len(helpers) + 1, error)
                    break
            queue.work(lambda: True)
        finally:
            queue.stop()  # a Ctrl-C waits for the items that are begun, not for the others
            for helper in helpers:
                _join(helper)
        return queue.results()

    def _help(self, queue: "_Queue[Item, Result]") -> None:
        queue.work(self._is_needed)

    def _is_needed(self) -> bool:
        """Whether a helper should go on, with others who work as they do now."""
        return self._load is None or round(self._load.free_cores() - len(_working)) >= 0


class _Queue(Generic[Item, Result]):
    """Items that threads take one after the other, and what became of each."""

    def __init__(self, function: Callable[[Item], Result], items: Sequence[Item]) -> None:
        self._function = function
        self._items = items
        self._waiting = deque(range(len(items)))  # popleft() is atomic
        self._results: dict[int, Result] = {}
        self._errors: dict[int, BaseException] = {}

    def work(self, goes_on: Callable[[], bool]) -> None:
        """Work on items until none waits, or it should not go on; at least on one."""
        thread = threading.get_ident()
        _working.append(thread)
        try:
            while True:
                try:
                    number = self._waiting.popleft()
                except IndexError:
                    return
                try:
                    self._results[number] = self._function(self._items[number])
                except BaseException as error:
                    if not isinstance(error, Exception):
                        raise  # Ctrl-C, or a handler of a signal that ends the process
                    self._errors[number] = error
                    self.stop()
                if not goes_on():
                    return
        finally:
            _working.remove(thread)

    def stop(self) -> None:
        """Let nobody begin another item."""
        self._waiting.clear()

    def results(self) -> list[Result]:
        """All results in order, or the first error."""
        if self._errors:
            run_gate.gate.hold_at_end()  # its helpers fail that began since
            raise self._errors[min(self._errors)]
        missing = [n for n in range(len(self._items)) if n not in self._results]
        for number in missing:  # in a child of a fork while others worked, who are not in it
            self._results[number] = self._function(self._items[number])
        return [self._results[number] for number in range(len(self._items))]


def _join(helper: threading.Thread) -> None:
    """Wait for a thread, also for one whose start was interrupted and that may be about to run."""
    patience = time.monotonic() + _START_SECONDS
    while True:
        try:
            helper.join()
            return
        except RuntimeError:  # it has not begun
            if time.monotonic() > patience:
                return
            time.sleep(0.001)


def _begin_child() -> None:
    thread = threading.get_ident()
    _working[:] = [other for other in _working if other == thread]


run_gate.call_in_child(_begin_child)
