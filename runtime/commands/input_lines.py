"""The lines that `tfm run` translates, from arguments, a file or stdin; runtime/files/text.py reads
them."""

import codecs
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import click

from tfm.runtime.errors import TfmError
from tfm.runtime.files.encodings import ToUtf8, check_encoding
from tfm.runtime.files.folder_kind import FolderKind, folder_kind
from tfm.runtime.files.text import read_chunks, unpacked

from .streams import stdin_name

_ADVICE = "name its encoding, such as --encoding gb18030"


@dataclass(frozen=True, slots=True)
class InputText:
    """Where the lines come from.

    Attributes:
        texts: given as arguments; then there is no stream
        stream: a file or stdin
        name: what errors call it
        encoding: of the text; None is UTF-8
    """

    texts: tuple[str, ...]
    stream: BinaryIO | None
    name: str
    encoding: str | None

    @classmethod
    def of(cls, texts: tuple[str, ...], file: BinaryIO | None, encoding: str | None) -> "InputText":
        """What the command line asks for: texts, or a file, or without both stdin.

        Raises:
            click.UsageError: a text is the name of a file, or of a model
        """
        if texts:
            _check_names(texts)
            return cls(texts, None, "TEXT", encoding)
        stream: Any = sys.stdin.buffer if file is None else file
        return cls((), stream, stdin_name(stream), encoding)

    @property
    def is_terminal(self) -> bool:
        """Whether somebody types it."""
        return self.stream is not None and self.stream.isatty()

    def chunks(self) -> Iterator[list[str]]:
        """The lines, as many at a time as there are.

        Raises:
            TfmError: the input cannot be decompressed or decoded, or a line is too long
        """
        if self.stream is None:
            yield split_texts(self.texts, self.encoding)
            return
        readable = unpacked(self.stream, self.name)
        if self.encoding is not None:
            readable = ToUtf8(readable, self.name, self.encoding)
        yield from read_chunks(readable, self.name, _ADVICE)


def encoding_option(_context: Any, _parameter: Any, name: str | None) -> str | None:
    """The callback of --encoding: an encoding that Python knows, None for UTF-8."""
    if name is None:
        return None
    try:
        check_encoding(name)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return None if codecs.lookup(name).name == "utf-8" else name


def _check_names(texts: tuple[str, ...]) -> None:
    """Refuse names of files in place of text: nobody wants them translated."""
    for text in texts:
        if _exists(text, Path.is_dir) and folder_kind(Path(text)) is FolderKind.MODEL_FOLDER:
            raise click.UsageError(f"{text} is a model folder: give it with -m {text}")
    if all(_exists(text, Path.is_file) for text in texts):
        raise click.UsageError(
            f"{texts[0]} is a file: -i {texts[0]} translates its lines"
            " (to translate the name itself, give it on stdin)"
        )


def _exists(text: str, test: Any) -> bool:
    try:
        return bool(test(Path(text)))
    except (OSError, ValueError):  # too long for a name, or with a NUL
        return False


def utf8_argument(text: str) -> str:
    """An argument of the command line as UTF-8, whatever encoding the locale made Python take.

    Where it is not UTF-8, it stays as the locale has it.
    """
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeError:
        return text


def check_pairs(chunks: Iterator[list[str]], name: str, wanted_by: str) -> Iterator[list[str]]:
    """The same lines, each of which is source<TAB>target, and more columns where there are any.

    Args:
        name: of the input, for errors
        wanted_by: the command or option that needs pairs, for errors

    Raises:
        TfmError: a line has no tab
    """
    number = 0
    for chunk in chunks:
        for place, line in enumerate(chunk):
            if "\t" not in line:
                if place:
                    yield chunk[:place]
                raise TfmError(
                    f"{name}, line {number + place + 1}: no tab in {line[:40]!r};"
                    f" {wanted_by} expects source<TAB>target"
                )
        yield chunk
        number += len(chunk)


def split_texts(texts: tuple[str, ...], encoding: str | None = None) -> list[str]:
    """Lines of the texts given as arguments.

    Args:
        encoding: of the arguments; None is UTF-8, or else the locale's

    Raises:
        TfmError: a text is not in this encoding
    """
    decoded = []
    for place, text in enumerate(texts, start=1):
        try:
            if encoding is None:
                decoded.append(utf8_argument(text))
            else:
                decoded.append(os.fsencode(text).decode(encoding))
            decoded[-1].encode("utf-8")
        except UnicodeError as error:
            raise TfmError(f"TEXT {place} is not {encoding or 'UTF-8'}: {text!r}") from error
    return [line.removesuffix("\r") for text in decoded for line in text.split("\n")]


def one_line(text: str) -> str:
    """A text whose line breaks are spaces."""
    return " ".join(text.splitlines())
