"""What a run has measured so far, saved measurement by measurement: a stopped run goes on from it.

The file has one JSON object a line. The first is what the run measures (plan.py); each of the
others is one measurement with its key. A process that dies while it writes leaves a last line that
is not whole: it is cut off, and measured again.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tfm.runtime.files.lock import try_lock

from .errors import BenchError

FILE = "measurements.jsonl"
LONGEST_VALUE = 60  # characters of a value in an error message

Key = tuple[str | int, ...]


class Measurements:
    """Measurements by key: the part of the run, the system's label, the cell, the round."""

    def __init__(self) -> None:
        """In memory only; `open_measurements` has one that is kept in a file."""
        self._entries: dict[Key, dict[str, Any]] = {}
        self._file: BinaryIO | None = None

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, *key: str | int) -> dict[str, Any] | None:
        """The measurement of this key; None where there is none."""
        return self._entries.get(key)

    def rounds(self, *key: str | int) -> list[dict[str, Any]]:
        """The measurements of rounds 1, 2, ... under this key, as far as there are any."""
        found: list[dict[str, Any]] = []
        while (entry := self._entries.get((*key, len(found) + 1))) is not None:
            found.append(entry)
        return found

    def add(self, key: Key, entry: Mapping[str, Any]) -> None:
        """Keep a measurement; it is in the file when this returns."""
        self._entries[key] = dict(entry)
        self._write({"key": key, **entry})

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            self._file.flush()

    def _attach(self, file: BinaryIO, identity: Mapping[str, Any], path: Path) -> None:
        """Read what the file holds, and write to it from now on."""
        data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        file.truncate(len(whole))
        file.seek(len(whole))
        self._file = file
        lines = whole.splitlines()
        if not lines:
            self._write(identity)
            return
        try:
            earlier, *entries = [json.loads(line) for line in lines]
            self._entries = {tuple(entry.pop("key")): entry for entry in entries}
            difference = _difference(earlier, identity)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BenchError(f"{path} is damaged: delete it, and measure again") from error
        if difference:
            raise BenchError(
                f"{path} holds another run ({difference}): name another folder with --output, or"
                " delete the file"
            )


@contextlib.contextmanager
def open_measurements(folder: Path | None, identity: Mapping[str, Any]) -> Iterator[Measurements]:
    """What an earlier run of the same measured in this folder, to be added to; None is memory.

    Args:
        folder: an existing folder
        identity: what is measured, as JSON can hold it; the file of another run is refused

    Raises:
        BenchError: the file is of another run, is damaged, or another process writes it
    """
    measured = Measurements()
    if folder is None:
        yield measured
        return
    path = folder / FILE
    with path.open("ab+") as file:
        if not try_lock(file):
            raise BenchError(f"{path}: another `tfm bench` is writing it")
        file.seek(0)
        measured._attach(file, identity, path)
        yield measured


def _difference(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first thing that differs, such as `rounds 5, now 3`; "" if nothing does."""
    now = json.loads(json.dumps(now))
    for name in [*now, *earlier]:
        if earlier.get(name) != now.get(name):
            return f"{name} {_short(earlier.get(name))}, now {_short(now.get(name))}"
    return ""


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "..."
