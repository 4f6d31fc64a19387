"""Lets a fork, and the end of the process, wait until no thread runs C++ that it would break.

A child of os.fork() has only the thread that forked: a lock that another thread held inside
onnxruntime stays locked in it for ever. And a daemon thread that comes back from C++ while the
interpreter ends aborts the process.
"""

import atexit
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .errors import TranslationError

ENDING = "the process is ending: nothing can be translated in other threads any more"


class RunGate:
    """Counts the runs inside C++; `close` waits for them and keeps new ones out."""

    def __init__(self) -> None:
        # With its reentrant lock, a signal handler that forks finds no lock of its own thread.
        self._changed = threading.Condition()
        self._inside: list[int] = []  # identifiers of threads
        self._closed_by: int | None = None
        self._parked: frozenset[int] = frozenset()  # threads that the end of the process stops
        self.has_ended = False

    @contextmanager
    def run(self) -> Iterator[None]:
        """One run, or one within another of the same thread. It waits while another thread has
        closed the gate.

        Raises:
            TranslationError: the process ends, and somebody may wait for this thread, which began
                since
        """
        thread = threading.get_ident()
        with self._changed:
            if self.has_ended and thread != self._closed_by and thread not in self._parked:
                raise TranslationError(ENDING)
            while self._closed_by not in (None, thread) and thread not in self._inside:
                self._changed.wait()
            self._inside.append(thread)
        try:
            yield
        finally:
            with self._changed:
                self._inside.remove(thread)
                self._changed.notify_all()

    def hold_at_end(self) -> None:
        """Stop this thread if the process ends and stops it, as a run would; else go on.

        Raises:
            TranslationError: as `run`
        """
        if self.has_ended:
            with self.run():
                pass

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
            if not self.has_ended:
                self._closed_by = None
                self._changed.notify_all()

    def end(self) -> None:
        """Close it for good: only the thread that ends the process can run."""
        with self._changed:
            self._parked = frozenset(sys._current_frames())
            self.has_ended = True
        self.close()


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
atexit.register(lambda: gate.end())
