"""Files that are read as a whole or more than once: regular files, never a pipe or a device.

A pipe waits for a writer that may never come, and a device such as /dev/zero has no end.
"""

import errno
import io
import os
import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a regular file, or a link to one, for reading.

    Raises:
        FileNotFoundError: there is none
        OSError: it is something else, or cannot be read; strerror says what
    """
    check_regular(path)
    return open(path, "rb")


def check_regular(path: str | os.PathLike[str]) -> None:
    """Raise what `open_regular` would raise, but open nothing."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in _KINDS if test(mode)), "no file")
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", os.fspath(path))


def read_regular(path: Path, most: int | None = None) -> bytes:
    """The content of a regular file.

    Args:
        most: how many bytes it may have at most; None is any number

    Raises:
        FileNotFoundError: there is none
        OSError: it is something else, has more bytes, or cannot be read; strerror says what
    """
    with open_regular(path) as file:
        data = file.read() if most is None else file.read(most + 1)
    if most is not None and len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes", os.fspath(path))
    return data
