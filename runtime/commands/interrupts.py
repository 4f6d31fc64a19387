"""Ctrl-C and SIGTERM: exceptions, so that files are closed and kept on the way out."""

import _thread
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

_WAIT_SECONDS = 0.02
_NOTICE_SECONDS = 0.1  # on Windows a wait without end does not notice Ctrl-C

Result = TypeVar("Result")


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


def exit_at_once() -> None:
    """From now on Ctrl-C and SIGTERM end this process, while it has nothing to lose.

    A signal that is ignored, as SIGINT is in the background of a script, stays so.
    """
    _handle_signals(_exit)


def raise_exceptions() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt, and SIGTERM raises Terminated.

    Not in the middle of an import, which would make an ImportError or a traceback of it: then
    they come once that is over.
    """
    _handle_signals(_raise)


@contextlib.contextmanager
def sigterm_raises() -> Iterator[None]:
    """Within it SIGTERM raises Terminated; in the main thread, the only one that gets signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_cancellable(function: Callable[[], Result], cancel: Callable[[], None]) -> Result:
    """What a function returns or raises that runs in a thread of its own, so that Ctrl-C and
    SIGTERM are noticed in this one: then `cancel` is called, and the function's end is awaited."""
    results: list[Result] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def work() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=work, daemon=True).start()
    try:
        while not done.wait(_NOTICE_SECONDS):
            pass
    except KeyboardInterrupt:
        cancel()
        done.wait()
        raise
    if errors:
        raise errors[0]
    return results[0]


def _handle_signals(handler: "signal._HANDLER") -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _exit(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


def _raise(number: int, frame: FrameType | None) -> None:
    if _is_importing(frame):
        # Without the locks of threading, which the interrupted code may hold.
        _thread.start_new_thread(_signal_again, (signal.Signals(number),))
        return
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _signal_again(number: signal.Signals) -> None:
    time.sleep(_WAIT_SECONDS)
    _thread.interrupt_main(number)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
