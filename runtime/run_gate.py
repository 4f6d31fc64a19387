"""Lets a fork, and the end of the process, wait until no thread runs C++ that it would break.

A child of os.fork() has only the thread that forked: a lock that another thread held inside
onnxruntime stays locked in it for ever. And a daemon thread that comes back from C++ while the
interpreter ends aborts the process.
"""

import atexit
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class RunGate:
    """Counts the runs inside C++; `close` waits for them and keeps new ones out."""

    def __init__(self) -> None:
        # With its reentrant lock, a signal handler that forks finds no lock of its own thread.
        self._changed = threading.Condition()
        self._inside: list[int] = []  # identifiers of threads
        self._closed_by: int | None = None

    @contextmanager
    def run(self) -> Iterator[None]:
        """One run, or one within another of the same thread. It waits while another thread has
        closed the gate."""
        thread = threading.get_ident()
        with self._changed:
            while self._closed_by not in (None, thread) and thread not in self._inside:
                self._changed.wait()
            self._inside.append(thread)
        try:
            yield
        finally:
            with self._changed:
                self._inside.remove(thread)
                self._changed.notify_all()

    def close(self) -> None:
        """Wait until no other thread runs, and keep other threads from running."""
        thread = threading.get_ident()
        with self._changed:
            while self._closed_by not in (None, thread):
                self._changed.wait()
            self._closed_by = thread
            while any(other != thread for other in self._inside):
                self._changed.wait()

    def open(self) -> None:
        """Let all threads run again."""
        with self._changed:
            self._closed_by = None
            self._changed.notify_all()


gate = RunGate()
_after_fork: list[Callable[[], None]] = []


def call_in_child(function: Callable[[], None]) -> None:
    """Call a function in every child of os.fork(), in its only thread, before anything else."""
    _after_fork.append(function)


def _begin_child() -> None:
    global gate
    gate = RunGate()  # the old one's waiting threads do not exist here
    for function in _after_fork:
        function()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(
        before=lambda: gate.close(),
        after_in_parent=lambda: gate.open(),
        after_in_child=_begin_child,
    )
atexit.register(lambda: gate.close())
