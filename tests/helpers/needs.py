"""What a test needs beside tfm's own dependencies: skipped where it is absent, but where the
environment variable TFM_TEST_EVERYTHING is 1, as in CI, its absence is a failure."""

import importlib
import os
import shutil
from pathlib import Path
from types import ModuleType

import pytest


def needs_module(name: str) -> ModuleType:
    """The Python module of that name."""
    if os.environ.get("TFM_TEST_EVERYTHING") == "1":
        return importlib.import_module(name)
    module: ModuleType = pytest.importorskip(name, reason=f"no {name} here: pip install it")
    return module


def needs_program(*names: str) -> str:
    """The path of the first of these programs that is on the PATH."""
    for name in names:
        if path := shutil.which(name):
            return path
    raise _missing(f"no {' or '.join(names)} on the PATH: install it")


def needs_path(path: Path, how: str) -> Path:
    """A file or folder that is made by what `how` says."""
    if path.exists():
        return path
    raise _missing(f"no {path}: {how}")


def _missing(reason: str) -> BaseException:
    """What pytest raises for a failure or a skip."""
    if os.environ.get("TFM_TEST_EVERYTHING") == "1":
        return pytest.fail.Exception(reason)
    return pytest.skip.Exception(reason, allow_module_level=True)
