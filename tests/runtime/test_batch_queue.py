"""Batches of what many threads ask for: budget, patience, groups, turns, failures, the end."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import Any

import pytest

from tfm.runtime import CancelledError
from tfm.runtime.batch_queue import BatchQueue


class Engine:
    """Squares numbers, when it is let; remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.may_run = threading.Event()
        self.may_run.set()

    def __call__(self, group: str, items: list[int]) -> list[int]:
        self.batches.append((group, items))
        assert self.may_run.wait(60)
        if group == "cancelled":
            raise CancelledError("the translation was cancelled")
        if 13 in items:
            raise ZeroDivisionError("13")
        return [item**2 for item in items]


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.may_run.set()


Submit = Callable[..., "Future[int]"]


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def busy_queue(engine: Engine, budget: int = 10**6) -> tuple[BatchQueue[int, int], Submit]:
    """A queue whose engine is at a first item, so that others gather."""
    queue: BatchQueue[int, int] = BatchQueue(engine, budget=budget, patience=0)
    engine.may_run.clear()
    queue.submit(0, group="first", size=1)
    wait_until(lambda: engine.batches)

    def submit(item: int, group: str = "a", size: int = 1, client: str | None = None) -> Any:
        return queue.submit(item, group=group, size=size, client=client)

    return queue, submit


def test_what_gathers_is_one_batch_and_groups_are_not_mixed(engine: Engine) -> None:
    _, submit = busy_queue(engine)
    futures = [submit(item, group="ab"[item % 2]) for item in range(1, 9)]
    engine.may_run.set()
    assert [future.result(60) for future in futures] == [item**2 for item in range(1, 9)]
    assert engine.batches == [("first", [0]), ("b", [1, 3, 5, 7]), ("a", [2, 4, 6, 8])]


def test_the_budget_is_items_times_the_largest(engine: Engine) -> None:
    queue, submit = busy_queue(engine, budget=12)
    sizes = [3, 3, 5, 3, 20, 1, 3]
    futures = [submit(number, size=size) for number, size in enumerate(sizes)]
    engine.may_run.set()
    wait(futures, 60)
    for _, items in engine.batches[1:]:
        of_items = [sizes[item] for item in items]
        assert len(items) * max(of_items) <= 12 or len(items) == 1
    assert [items[0] for _, items in engine.batches[1:]] == [0, 2, 4]
    assert len(engine.batches) == 4
    assert queue._size == 0


def test_it_waits_as_long_as_its_patience_or_until_the_budget_is_full(engine: Engine) -> None:
    queue: BatchQueue[int, int] = BatchQueue(engine, budget=4, patience=0.2)
    begun = time.monotonic()
    futures = [queue.submit(item, group="a", size=1) for item in (1, 2)]
    wait(futures, 60)
    assert time.monotonic() - begun >= 0.2
    patient: BatchQueue[int, int] = BatchQueue(engine, budget=4, patience=50)
    full = [patient.submit(item, group="a", size=1) for item in range(4)]
    assert [future.result(40) for future in full] == [0, 1, 4, 9]
    assert engine.batches == [("a", [1, 2]), ("a", [0, 1, 2, 3])]


def test_an_idle_queue_has_no_thread(engine: Engine) -> None:
    before = threading.active_count()
    queue: BatchQueue[int, int] = BatchQueue(engine, budget=4, patience=0)
    for item in range(3):
        assert queue.submit(item, group="a", size=1).result(60) == item**2
    wait_until(lambda: threading.active_count() == before)


def test_a_cancelled_item_leaves_the_queue(engine: Engine) -> None:
    queue, submit = busy_queue(engine)
    futures = [submit(item) for item in (1, 2, 3)]
    assert futures[1].cancel()
    assert len(queue._waiting) == 2
    engine.may_run.set()
    assert [futures[0].result(60), futures[2].result(60)] == [1, 9]
    assert engine.batches[1:] == [("a", [1, 3])]


def test_a_failure_is_of_the_item_that_fails_alone(engine: Engine) -> None:
    _, submit = busy_queue(engine)
    futures = [submit(item) for item in (5, 13, 7)]
    engine.may_run.set()
    assert [futures[0].result(60), futures[2].result(60)] == [25, 49]
    assert isinstance(futures[1].exception(60), ZeroDivisionError)


def test_cancelling_the_engine_is_for_the_whole_batch(engine: Engine) -> None:
    _, submit = busy_queue(engine)
    futures = [submit(item, group="cancelled") for item in (1, 2)]
    engine.may_run.set()
    errors = [future.exception(60) for future in futures]
    assert all(isinstance(error, CancelledError) for error in errors)
    assert errors[0] is not errors[1]
    assert len(engine.batches) == 2


def test_clients_take_turns(engine: Engine) -> None:
    _, submit = busy_queue(engine, budget=4)
    futures = [submit(item, client="large") for item in range(1, 10)]
    futures += [submit(item, client="small") for item in (101, 102)]
    futures += [submit(201, client="other options", group="b")]
    engine.may_run.set()
    wait(futures, 60)
    assert engine.batches[1:] == [
        ("a", [1, 101, 2, 102]),
        ("b", [201]),
        ("a", [3, 4, 5, 6]),
        ("a", [7, 8, 9]),
    ]


def test_few_clients_are_remembered(engine: Engine) -> None:
    queue, submit = busy_queue(engine, budget=1)
    for number in range(1500):
        submit(number, client=f"client {number}")
    last = submit(2, client="last")
    engine.may_run.set()
    assert last.result(60) == 4
    assert len(queue._served) <= 1001


def test_a_thread_that_cannot_start_is_the_callers_failure_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    queue: BatchQueue[int, int] = BatchQueue(engine, budget=4, patience=0)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            queue.submit(1, group="a", size=1)
    assert queue.submit(2, group="a", size=1).result(60) == 4
    assert engine.batches == [("a", [2])]
    assert queue._size == 0
    queue.close()


def test_a_client_that_cannot_be_told_from_others_is_refused(engine: Engine) -> None:
    queue: BatchQueue[int, int] = BatchQueue(engine, budget=4, patience=0)
    with pytest.raises(TypeError, match="unhashable"):
        queue.submit(1, group="a", size=1, client=["a"])  # type: ignore[arg-type]
    assert queue.submit(2, group="a", size=1, client="b").result(60) == 4


def test_the_end(engine: Engine) -> None:
    queue, submit = busy_queue(engine)
    waiting = submit(3)
    closing = threading.Thread(target=queue.close)
    closing.start()
    assert str(waiting.exception(60)) == "this translator is closed"
    assert closing.is_alive()  # the batch that runs is finished
    engine.may_run.set()
    closing.join(60)
    assert not any(thread.name == "tfm batches" for thread in threading.enumerate())
    with pytest.raises(ValueError, match="this translator is closed"):
        submit(4)
    queue.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
def test_a_child_of_a_fork_begins_anew(engine: Engine) -> None:
    queue, submit = busy_queue(engine)
    submit(5)
    queue._changed.acquire()  # as the thread may have at that moment
    child = os.fork()
    if not child:
        engine.may_run.set()
        try:
            # Before any thread exists: several that asked first would begin it over one another.
            assert not queue._waiting and queue._thread is None
            right = submit(6).result(20) == 36 and engine.batches[-1] == ("a", [6])
            queue.close()
            os._exit(0 if right else 1)
        finally:
            os._exit(2)
    queue._changed.release()
    assert os.waitpid(child, 0)[1] == 0
