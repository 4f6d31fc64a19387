"""Whether a complete output still fits the input: what --resume asks before it does nothing."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from tfm.runtime.errors import TfmError

_BLOCK_BYTES = 1 << 20
_ANEW = "leave out --resume to make it anew"


def check_finished(
    output: Path,
    chunks: Iterable[list[str]],
    name: str,
    *,
    source: BinaryIO | None,
    pairs: bool,
    n_best: int | None,
) -> None:
    """Compare the numbers of lines, and the times at which the two files were written.

    The journal is gone with the last line, so lines that were exchanged for as many others in a
    file that looks older than the output are not noticed.

    Args:
        chunks: the lines of the input, all of which are read
        name: what errors call the input
        source: the file that they come from, if they do
        n_best: how many translations the output has of each line, where it was asked for

    Raises:
        TfmError: the input was changed after the output was written, or the output is no n-best
            list where one is asked for
    """
    try:
        changed = None if source is None else os.fstat(source.fileno()).st_mtime
    except OSError:
        changed = None
    if changed is not None and changed > output.stat().st_mtime:
        raise TfmError(f"{output} is complete, but {name} was changed after it: {_ANEW}")
    given = sum(map(len, chunks))
    done = _lines_done(output, pairs, n_best)
    if given != done:
        raise TfmError(
            f"{output} is complete, but it has the translations of {done} lines, and {name} has"
            f" {given}: {_ANEW}"
        )


def _lines_done(output: Path, pairs: bool, n_best: int | None) -> int:
    """How many lines of an input the output is of."""
    if n_best is not None and not pairs:
        last = _last_line(output)
        number = last.split(b" ||| ", 1)[0]
        if last and not (number.isdigit() and len(number) < 20):
            raise TfmError(
                f"{output} is complete, but its lines have no numbers, as --n-best writes them:"
                f" {_ANEW}"
            )
        return int(number) + 1 if last else 0
    with output.open("rb") as file:
        lines = sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK_BYTES), b""))
    return lines // (n_best or 1)


def _last_line(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _BLOCK_BYTES))
        return file.read().removesuffix(b"\n").rpartition(b"\n")[2]
