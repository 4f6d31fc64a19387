"""Translated files until they are fetched."""

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass

MOST_BYTES = 200_000_000
SECONDS = 1200.0


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file, and until when it is kept, in the seconds of time.monotonic()."""

    name: str
    content: bytes
    until: float


class FileStore:
    """Files in memory by names that nobody can guess. The oldest go when there are too many."""

    def __init__(self, most_bytes: int = MOST_BYTES, seconds: float = SECONDS) -> None:
        self._most_bytes, self._seconds = most_bytes, seconds
        self._files: OrderedDict[str, StoredFile] = OrderedDict()
        self._size = 0

    def add(self, name: str, content: bytes) -> str:
        """Keep a file; returns the name that it is fetched by."""
        key = f"{secrets.token_urlsafe(16)}.{name}"
        self._files[key] = StoredFile(name, content, time.monotonic() + self._seconds)
        self._size += len(content)
        while self._files and (self._size > self._most_bytes or self._is_over()):
            _, oldest = self._files.popitem(last=False)
            self._size -= len(oldest.content)
        return key

    def find(self, key: str) -> StoredFile | None:
        """The file of that name, if it is still there."""
        file = self._files.get(key)
        return file if file is not None and time.monotonic() < file.until else None

    def _is_over(self) -> bool:
        return next(iter(self._files.values())).until <= time.monotonic()
