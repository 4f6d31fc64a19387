"""One translator for each model in a process, whoever asks for it and how often.

Spark and Dask unpickle a function for every task: without this, each would load the model.
"""

import os
import threading
from typing import NamedTuple

from tfm.runtime.translator import Translator

_MOST = 4  # models that one process keeps


class HowToOpen(NamedTuple):
    """The arguments of Translator."""

    model: str | None
    device: str
    variant: str | None
    intra_threads: int


_lock = threading.Lock()
_open: dict[HowToOpen, Translator] = {}


def shared_translator(how: HowToOpen) -> Translator:
    """The translator of this process, loaded at the first call. Safe to use from many threads.

    Raises:
        ModelError: the folder or the device cannot be used
        ValueError: an argument is out of its range
    """
    with _lock:
        if how not in _open:
            while len(_open) >= _MOST:
                del _open[next(iter(_open))]  # whoever translates with it goes on
            _open[how] = Translator(
                how.model,
                device=how.device,
                variant=how.variant,
                intra_threads=how.intra_threads,
            )
        return _open[how]


def _begin_child() -> None:
    """In a child of a fork: the lock may have been held by a thread that is not there."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_child)
