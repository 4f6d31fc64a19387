"""Stopping a translation while a graph runs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .device import load_onnxruntime
from .errors import CancelledError


class Cancellation:
    """What one call of the translator is stopped with, from any thread."""

    def __init__(self) -> None:
        """Nothing is stopped yet."""
        # Reentrant: a signal handler may cancel in the thread that is just beginning a run.
        self._lock = threading.RLock()
        self._runs: list[Any] = []  # onnxruntime.RunOptions of the graphs that run
        self._cancelled = False

    def cancel(self) -> None:
        """Stop the graphs that run, after the operator they are at, and let no other begin."""
        with self._lock:
            self._cancelled = True
            for options in self._runs:
                options.terminate = True

    def check(self) -> None:
        """Raise CancelledError if `cancel` was called."""
        if self._cancelled:
            raise CancelledError("the translation was cancelled")

    @contextmanager
    def run(self) -> Iterator[Any]:
        """The onnxruntime.RunOptions for one run of a graph.

        Raises:
            CancelledError: `cancel` was called before
        """
        options = load_onnxruntime().RunOptions()
        with self._lock:
            self.check()
            self._runs.append(options)
        try:
            yield options
        finally:
            with self._lock:
                self._runs = [other for other in self._runs if other is not options]
