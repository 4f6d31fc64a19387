"""A lock on an open file, which the operating system lets go when the process ends."""

import errno
import sys
from typing import BinaryIO

_TAKEN = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
_FAR = 1 << 40  # Windows locks bytes: one beyond those that anybody reads


def try_lock(stream: BinaryIO) -> bool:
    """Lock the file against other processes that ask for this lock, until it is closed.

    Returns:
        False if another process has it. True too where the file system has no locks.
    """
    try:
        _lock(stream)
    except OSError as error:
        return error.errno not in _TAKEN
    return True


if sys.platform == "win32":
    import msvcrt

    def _lock(stream: BinaryIO) -> None:
        position = stream.tell()
        stream.seek(_FAR)
        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        finally:
            stream.seek(position)

else:
    import fcntl

    def _lock(stream: BinaryIO) -> None:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
