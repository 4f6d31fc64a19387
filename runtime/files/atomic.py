"""Files and folders that appear complete or not at all.

The new content is written beside the old one, under the same name with .partial at the end, and
then renamed. A process that dies in between leaves the old content as it was.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tfm.runtime.errors import TfmError

from .lock import try_lock


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Give a file's name to an OSError that has none, as of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Write the file that is yielded; when the block ends without an error, it becomes `path`."""
    partial = _partial(path)
    try:
        with naming(path):
            yield partial
            with partial.open("rb+") as file:  # even a power failure leaves one of the two whole
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Replace the content of `path` by UTF-8 text."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Replace the content of `path`."""
    with replace_file(path) as partial:
        partial.write_bytes(data)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill the folder that is yielded; when the block ends without an error, it becomes `path`.

    There must be no folder `path` at the end of the block. Its parents are made.

    Raises:
        TfmError: another process is making the folder
    """
    with partial_folder(path) as partial:
        yield partial
        partial.rename(path)


@contextlib.contextmanager
def partial_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path`, to be renamed or moved from; what is left of it is deleted.

    Raises:
        TfmError: another process is making the same folder
    """
    partial = _partial(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock_path = path.with_name(path.name + ".lock")
    with lock_path.open("ab") as lock:
        if not try_lock(lock):
            raise TfmError(f"{path}: another process is writing it")
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            lock_path.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")
