"""What is looked at before a file is written: that it can be, and that nothing is lost by it."""

import contextlib
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from tfm.runtime.errors import TfmError


def check_output(
    output: Path, inputs: Iterable[Path | BinaryIO], also: Iterable[Path] = ()
) -> None:
    """Refuse to write where there is no folder, or over a file that is read.

    Args:
        inputs: what is read, by path or open
        also: further files that are written on the way

    Raises:
        TfmError: in one line, what is wrong
    """
    if not output.parent.is_dir():
        raise TfmError(f"{output}: there is no folder {output.parent}; make it first")
    read = [facts for facts in map(_regular_file, inputs) if facts is not None]
    for path in (output, *also):
        written = _regular_file(path)
        if written is not None and any(os.path.samestat(written, facts) for facts in read):
            raise TfmError(
                f"{path} is read, and would be overwritten: choose another output than {output}"
            )


def check_stdout(source: BinaryIO) -> None:
    """Refuse to write stdout into the file that is read.

    Raises:
        TfmError: it is the same file
    """
    read, written = _regular_file(source), _regular_file(sys.stdout)
    if read is not None and written is not None and os.path.samestat(read, written):
        raise TfmError("stdout goes into the file that is read: write another file")


def _regular_file(file: Any) -> os.stat_result | None:
    """What the system says about a regular file; None for all else."""
    with contextlib.suppress(OSError):  # also of a stream without a descriptor
        facts = os.stat(file) if isinstance(file, Path) else os.fstat(file.fileno())
        if stat.S_ISREG(facts.st_mode):
            return facts
    return None
