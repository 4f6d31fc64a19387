"""Tests that run in several processes at once (pytest-xdist)."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from filelock import FileLock

T = TypeVar("T")


def is_worker() -> bool:
    """Whether other processes run tests beside this one."""
    return "PYTEST_XDIST_WORKER" in os.environ


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], T]) -> T:
    """What the first process to ask for it makes in a new folder; the others wait, and share it.

    Args:
        name: of the folder
        make: fills the folder; what it returns is pickled
    """
    base = factory.getbasetemp()
    folder = (base.parent if is_worker() else base) / name
    made = folder / "made.pickle"
    with FileLock(f"{folder}.lock"):
        if not made.exists():
            folder.mkdir()
            made.write_bytes(pickle.dumps(make(folder)))
    value: T = pickle.loads(made.read_bytes())
    return value
