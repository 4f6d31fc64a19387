"""Work that many callers ask for one by one, done in batches.

A batch is what waits together: of one group (what can be done together at all), as much as the
budget allows. It begins when the first of it has waited for `patience` seconds, or earlier if the
budget is full; while one batch runs, the next gathers. Clients take turns: first comes who was
served longest ago, and within a batch each client's first item before anyone's second.

A thread works only while something waits: an idle queue has none.
"""

import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from . import run_gate
from .errors import CancelledError, TranslationError

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_CLIENTS = 1000  # that are remembered while others wait


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting(Generic[Item, Result]):
    """An item that waits, and whom its result is for."""

    item: Item
    group: Hashable
    size: int
    client: Hashable
    arrived: float
    future: "Future[Result]"


class BatchQueue(Generic[Item, Result]):
    """Gathers items from any threads, and runs them in batches in a thread of its own."""

    def __init__(
        self, run: Callable[[Any, list[Item]], list[Result]], *, budget: int, patience: float
    ) -> None:
        """Begin with nothing.

        Args:
            run: from a group and items of it to their results, in order
            budget: the most of items x largest size in a batch, unless a single item is larger
            patience: seconds for which an item waits for others
        """
        self._run, self._budget, self._patience = run, budget, patience
        self._closed = False
        self._begin()
        _QUEUES.add(self)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[Future[Result], _Waiting[Item, Result]] = {}  # in order of arrival
        self._size = 0  # of all that waits
        self._thread: threading.Thread | None = None
        self._served: dict[Hashable, int] = {}  # clients, and the latest batch of each
        self._batches = 0

    def submit(
        self, item: Item, *, group: Hashable, size: int, client: Hashable = None
    ) -> "Future[Result]":
        """Let an item wait for its turn.

        Cancelling the future takes an item out of the queue; once its batch runs, only the result
        is lost. Where a batch fails, each of its items is tried alone.

        Raises:
            ValueError: the queue is closed
            TypeError: the client cannot be hashed
            TranslationError: the process ends
            RuntimeError: no thread can be started
        """
        if run_gate.gate.has_ended:  # the thread could not run
            run_gate.gate.hold_at_end()
            raise TranslationError(run_gate.ENDING)
        hash(client)  # else the thread would fail, and everyone would wait for ever
        future: Future[Result] = Future()
        with self._changed:
            self._check_open()
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="tfm batches", daemon=True)
                thread.start()  # first of all: where it fails, nothing has changed
                self._thread = thread
            arrived = time.monotonic()
            self._waiting[future] = _Waiting(item, group, size, client, arrived, future)
            self._size += size
            if self._size >= self._budget:
                self._changed.notify()
        future.add_done_callback(self._forget)
        return future

    def close(self) -> None:
        """Refuse what waits, finish what runs, and end the thread."""
        with self._changed:
            self._closed = True
            waiting, self._waiting, self._size = list(self._waiting), {}, 0
            thread = self._thread
            self._changed.notify()
        for future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(ValueError(_CLOSED))
        if thread not in (None, threading.current_thread()):
            thread.join()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(_CLOSED)

    def _forget(self, future: "Future[Result]") -> None:
        with self._changed:
            entry = self._waiting.pop(future, None)
            if entry is not None:
                self._size -= entry.size

    def _work(self) -> None:
        while batch := self._next_batch():
            self._answer([e for e in batch if e.future.set_running_or_notify_cancel()])

    def _next_batch(self) -> list[_Waiting[Item, Result]]:
        """Wait until a batch is due and take it out of the queue; none, and no thread any more,
        where nothing waits."""
        with self._changed:
            while self._waiting:
                first = min(
                    self._waiting.values(), key=lambda e: (self._served.get(e.client, 0), e.arrived)
                )
                rest = first.arrived + self._patience - time.monotonic()
                if rest <= 0 or self._size >= self._budget:
                    return self._take(first)
                self._changed.wait(rest)
            self._thread = None
            self._served.clear()
            return []

    def _take(self, first: _Waiting[Item, Result]) -> list[_Waiting[Item, Result]]:
        turns: Counter[Hashable] = Counter()
        others = []
        for entry in self._waiting.values():
            if entry.group == first.group and entry is not first:
                others.append((turns[entry.client] + (entry.client == first.client), entry))
                turns[entry.client] += 1
        batch, largest = [first], first.size
        for _, entry in sorted(others, key=lambda turn: turn[0]):
            if max(largest, entry.size) * (len(batch) + 1) <= self._budget:
                batch.append(entry)
                largest = max(largest, entry.size)
        self._batches += 1
        for entry in batch:
            del self._waiting[entry.future]
            self._size -= entry.size
            self._served[entry.client] = self._batches
        if len(self._served) > _MOST_CLIENTS:
            waiting = {entry.client for entry in self._waiting.values()}
            self._served = {c: n for c, n in self._served.items() if c in waiting}
        return batch

    def _answer(self, batch: list[_Waiting[Item, Result]]) -> None:
        if not batch:
            return
        try:
            results = self._run(batch[0].group, [entry.item for entry in batch])
        except CancelledError as error:
            for entry in batch:
                entry.future.set_exception(CancelledError(str(error)))
        except BaseException as error:  # else its caller would wait for ever
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for entry in batch:  # whose fault is it?
                self._answer([entry])
        else:
            for entry, result in zip(batch, results, strict=True):
                entry.future.set_result(result)


_CLOSED = "this translator is closed"
_QUEUES: "weakref.WeakSet[BatchQueue[Any, Any]]" = weakref.WeakSet()


def _begin_child() -> None:
    """Begin anew in a child of os.fork(), which has neither the threads nor the callers."""
    for queue in list(_QUEUES):
        queue._begin()


run_gate.call_in_child(_begin_child)
