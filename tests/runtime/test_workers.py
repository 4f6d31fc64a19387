"""Threads side by side: how many, the order of results and errors, and what ends them."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tfm.runtime import workers as module
from tfm.runtime.cpu_load import CpuLoad
from tfm.runtime.errors import TranslationError
from tfm.runtime.workers import Workers, both

WAIT = 30  # seconds; a test that needs them has failed


class Cores(CpuLoad):
    """A machine with a number of cores that others leave free."""

    def __init__(self, free: float) -> None:
        self.free = free

    def free_cores(self) -> float:
        return self.free


@contextmanager
def working_elsewhere(workers: Workers) -> Iterator[None]:
    """Within it another thread of this process translates."""
    begun, over = threading.Event(), threading.Event()

    def work(_item: int) -> None:
        begun.set()
        assert over.wait(WAIT)

    thread = threading.Thread(target=workers.map, args=(work, [0], 1))
    thread.start()
    assert begun.wait(WAIT)
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_are_in_the_order_of_the_items(threads: int) -> None:
    def square(number: int) -> int:
        time.sleep(0.001 * (number % 3))
        return number * number

    found = Workers(threads).map(square, range(20), threads)
    assert found == [number * number for number in range(20)]
    assert Workers(threads).map(square, [], threads) == []


@pytest.mark.parametrize("threads", [2, 4])
def test_as_many_items_at_once_as_threads(threads: int) -> None:
    together = threading.Barrier(threads)

    def meet(_item: int) -> int:
        together.wait(WAIT)  # breaks unless all are here at the same time
        return threading.get_ident()

    before = threading.active_count()
    found = Workers(threads).map(meet, range(3 * threads), threads)
    assert len(set(found)) == threads
    assert threading.get_ident() in found
    assert threading.active_count() == before


def test_one_thread_is_the_callers() -> None:
    found = Workers(4).map(lambda _: threading.get_ident(), range(4), 1)
    assert set(found) == {threading.get_ident()}
    assert Workers(4).map(lambda _: threading.get_ident(), [0], 4) == [threading.get_ident()]


def test_the_first_error_in_order_is_raised_and_nothing_more_begins() -> None:
    begun: list[int] = []
    both = threading.Barrier(2)

    def fail(number: int) -> None:
        begun.append(number)
        both.wait(WAIT)
        if number == 0:
            time.sleep(0.05)  # the second one fails first
        raise TranslationError(f"item {number}")

    with pytest.raises(TranslationError, match="item 0"):
        Workers(2).map(fail, range(10), 2)
    assert sorted(begun) == [0, 1]


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_ends_the_helpers_and_is_not_hidden_by_their_errors() -> None:
    begun: list[int] = []
    both = threading.Barrier(2)

    def work(number: int) -> None:
        begun.append(number)
        both.wait(WAIT)
        if threading.current_thread() is threading.main_thread():
            signal.raise_signal(signal.SIGINT)
        raise TranslationError("of a helper")

    with pytest.raises(KeyboardInterrupt):
        Workers(2).map(work, range(10), 2)
    assert len(begun) == 2


def test_threads_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert Workers(3).map(lambda number: -number, range(4), 3) == [0, -1, -2, -3]


@pytest.mark.parametrize(
    ("limit", "free", "available"),
    [(4, 4, 4), (4, 8, 4), (2, 1.9, 2), (2, 1.1, 1), (2, 0, 1), (2, -3, 1), (1, 8, 1), (8, 5.6, 6)],
)
def test_no_more_threads_than_cores_are_free(limit: int, free: float, available: int) -> None:
    assert Workers(limit, Cores(free)).available() == available
    assert Workers(limit).available() == limit


def test_other_calls_of_this_process_count() -> None:
    workers = Workers(4, Cores(4))
    with working_elsewhere(workers):
        assert workers.available() == 3
        with working_elsewhere(Workers(1)):
            assert workers.available() == 2
    assert workers.available() == 4


def test_a_helper_ends_when_others_need_its_core() -> None:
    cores = Cores(2)
    by_thread: dict[int, int] = {}
    both = threading.Barrier(2)

    def work(number: int) -> None:
        by_thread[threading.get_ident()] = by_thread.get(threading.get_ident(), 0) + 1
        if number < 2:
            both.wait(WAIT)
            cores.free = 1  # a neighbour has come
        else:
            time.sleep(0.005)  # enough for a helper that went on to take some of these

    Workers(2, cores).map(work, range(10), 2)
    main = by_thread.pop(threading.get_ident())
    assert (main, list(by_thread.values())) == (9, [1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_in_the_middle(children: Callable[[int], int]) -> None:
    """As by a signal handler: the child has none of the other threads, but all of the results."""
    pids: list[int] = []
    both = threading.Barrier(2)

    def work(number: int) -> int:
        if os.getpid() != parent:
            return number
        if number < 2:
            both.wait(WAIT)
        if threading.current_thread() is threading.main_thread() and not pids:
            pids.append(os.fork())
        return number

    parent, found = os.getpid(), []
    try:
        found = Workers(2).map(work, range(6), 2)
    finally:
        if os.getpid() != parent:
            others = set(module._working) - {threading.get_ident()}
            os._exit(int(found != list(range(6)) or bool(others)))
    assert found == list(range(6))
    assert children(pids[0]) == 0


def test_both_run_at_once_and_the_first_error_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "usable_cpus", lambda: 4)
    together = threading.Barrier(2)

    def meet(fails: str = "") -> str:
        together.wait(WAIT)
        if fails:
            raise TranslationError(fails)
        return "met"

    assert both(meet, lambda: len(meet())) == ("met", 3)
    with pytest.raises(TranslationError, match="first"):
        both(lambda: meet("first"), lambda: meet("second"))
    with pytest.raises(TranslationError, match="second"):
        both(meet, lambda: meet("second"))


def test_both_on_one_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "usable_cpus", lambda: 1)
    assert both(threading.get_ident, threading.get_ident) == (threading.get_ident(),) * 2


@pytest.fixture
def children() -> Callable[[int], int]:
    """Waits for a child process, not for ever; its exit status."""

    def wait(pid: int) -> int:
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        pytest.fail("the child hangs")

    return wait
