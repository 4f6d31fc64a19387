"""The files of a CTranslate2 model: of a folder, or of an .argosmodel, which is such a folder in a
zip file, with a SentencePiece model and a description beside it."""

import json
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from tfm.runtime.files.regular import open_regular, read_regular
from tfm.trainer.errors import TrainError
from tfm.trainer.importing.files import TransformersFolder
from tfm.trainer.importing.npz import MOST_EXPANSION

MODEL, CONFIG = "model.bin", "config.json"
ARCHIVE = ".argosmodel"


class ModelFiles:
    """Files by name, read into memory.

    Attributes:
        path: the folder or the archive
    """

    def __init__(self, path: Path) -> None:
        """Nothing is read yet, but for the archive's list of files.

        Raises:
            TrainError: the archive is none, or has no model
        """
        self.path = path
        self._members: dict[str, zipfile.ZipInfo] = {}
        if path.is_dir():
            self._folder = TransformersFolder(path)
        else:
            self._list_archive()

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return self._folder.has(name) if not self._members else name in self._members

    def read(self, name: str) -> bytes:
        """A file's content.

        Raises:
            TrainError: it is missing, damaged, or a link out of the folder
        """
        if self._members:
            return self._read_member(name)
        path = self._folder.find(name)
        try:
            return read_regular(path)
        except OSError as error:
            raise TrainError(f"{path}: cannot be read: {error.strerror}") from error

    def read_json(self, name: str) -> Any:
        """A file's content as JSON.

        Raises:
            TrainError: as `read`, or it is no JSON
        """
        try:
            return json.loads(self.read(name).decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise TrainError(f"{self.path / name}: cannot be read as JSON: {error}") from error

    def _list_archive(self) -> None:
        """Find the model in the archive; names are then relative to its folder, and those beside
        the folder have theirs."""
        try:
            with open_regular(self.path) as file, zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                size = self.path.stat().st_size
        except FileNotFoundError as error:
            raise TrainError(f"{self.path}: not found") from error
        except (OSError, zipfile.BadZipFile, ValueError) as error:
            raise TrainError(f"{self.path}: damaged, or no {ARCHIVE}: {error}") from error
        models = [PurePosixPath(m.filename) for m in members if m.filename.endswith("/" + MODEL)]
        if len(models) != 1:
            raise TrainError(f"{self.path}: {len(models)} files {MODEL}: an {ARCHIVE} has one")
        folder = models[0].parent
        for member in members:
            place = PurePosixPath(member.filename)
            if place.parent in (folder, folder.parent) and not member.is_dir():
                self._members.setdefault(place.name, member)
                if place.parent == folder:
                    self._members[place.name] = member
        total = sum(member.file_size for member in self._members.values())
        if total > MOST_EXPANSION * size:
            raise TrainError(f"{self.path}: {size} bytes that claim to hold {total}: not a model")

    def _read_member(self, name: str) -> bytes:
        member = self._members.get(name)
        if member is None:
            raise TrainError(f"{self.path}: there is no {name} in it")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise TrainError(f"{self.path}: {name} is a link: not supported")
        try:
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(member)
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise TrainError(f"{self.path}: {name} cannot be unpacked: {error}") from error
        except NotImplementedError as error:
            raise TrainError(f"{self.path}: {name} is packed in an unknown way: {error}") from error
