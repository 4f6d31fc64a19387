"""SIGINT, SIGTERM and SIGHUP set a flag that the training loop checks between two steps."""

import contextlib
import signal
import time
from types import FrameType
from typing import Any


class Interrupted(Exception):
    """Training was asked to stop and has saved its state."""

    def __init__(self, step: int, signal_number: int) -> None:
        super().__init__(step, signal_number)
        self.step, self.signal_number = step, signal_number


# SIGHUP comes where a terminal or an ssh session ends; Windows has none.
SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


class StopSignals(contextlib.AbstractContextManager["StopSignals"]):
    """Turns these signals into a flag, so that a step is never cut in half.

    A second SIGINT gets through at once, unless it comes within `echo` seconds: torchrun passes on
    the Ctrl-C that the terminal has already sent to all.
    """

    def __init__(self, echo: float = 0.0) -> None:
        self.number = 0  # of the signal that came; 0: none
        self._echo, self._came = echo, 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        for number in SIGNALS:
            if number == getattr(signal, "SIGHUP", None) and (
                signal.getsignal(number) is signal.SIG_IGN
            ):
                continue  # nohup
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.number:
            self.number, self._came = number, now
        elif number == signal.SIGINT and now - self._came >= self._echo:
            raise KeyboardInterrupt
