"""Files of tables in pieces that tasks translate: Parquet by rows, JSON lines by bytes."""

import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from tfm.runtime.files.atomic import naming

from .table_translator import TableTranslator

_SAMPLE_BYTES = 1 << 18
READ_ERRORS = (OSError, ValueError, KeyError, TypeError, NotImplementedError)  # pyarrow's, too


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file, from `begin` to before `end`: rows of Parquet; of JSON lines, bytes in
    which the lines begin."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows of a piece, and how many of them have an error."""

    rows: int
    errors: int


class TableFormat(Protocol):
    """How tables of one kind lie in files."""

    def split(self, path: Path, column: str, rows: int) -> list[Piece]:
        """Pieces of about so many rows, at least one.

        Raises:
            ValueError, KeyError: it is no such file, or has no such column
        """
        ...

    def translate(
        self, path: Path, piece: Piece, translator: TableTranslator, output: Path
    ) -> Counts:
        """Translate a piece into a file of its own."""
        ...

    def join(self, parts: Sequence[Path], output: Path) -> None:
        """Make one file of those of all pieces."""
        ...


class ParquetFormat:
    """Rows stay as they are, with two columns more."""

    def split(self, path: Path, column: str, rows: int) -> list[Piece]:
        """See TableFormat."""
        with import_module("pyarrow.parquet").ParquetFile(path) as file:
            _check_column(path, column, file.schema_arrow.names)
            count = int(file.metadata.num_rows)
        return _pieces(count, rows)

    def translate(
        self, path: Path, piece: Piece, translator: TableTranslator, output: Path
    ) -> Counts:
        """See TableFormat."""
        table = translator(self._read(path, piece))
        import_module("pyarrow.parquet").write_table(table, output)
        errors = table.num_rows - table.column(translator.error_column).null_count
        return Counts(table.num_rows, errors)

    def join(self, parts: Sequence[Path], output: Path) -> None:
        """See TableFormat. Each part is a row group or several."""
        parquet = import_module("pyarrow.parquet")
        schema = parquet.read_schema(parts[0])
        with parquet.ParquetWriter(output, schema) as writer:
            for part in parts:
                with parquet.ParquetFile(part) as file:
                    for group in range(file.num_row_groups):
                        writer.write_table(file.read_row_group(group))

    def _read(self, path: Path, piece: Piece) -> Any:
        """The rows, from no more row groups than have them."""
        with import_module("pyarrow.parquet").ParquetFile(path) as file:
            begin = first = 0
            groups: list[int] = []
            for group in range(file.num_row_groups):
                end = begin + file.metadata.row_group(group).num_rows
                if begin < piece.end and end > piece.begin:
                    first = first if groups else begin
                    groups.append(group)
                begin = end
            table = file.read_row_groups(groups)
        return table.slice(piece.begin - first, piece.end - piece.begin)


class JsonLinesFormat:
    """An object in each line; objects get two keys more, and a line that is none has only these."""

    def split(self, path: Path, column: str, rows: int) -> list[Piece]:
        """See TableFormat. How long lines are is guessed from the first ones."""
        with path.open("rb") as file:
            sample = file.read(_SAMPLE_BYTES)
        lines = sample.splitlines()
        if lines:
            found = [row for line in lines[:-1] or lines if isinstance(row := _parsed(line), dict)]
            if not any(column in row for row in found):
                _check_column(path, column, [name for row in found[:1] for name in row])
        return _pieces(path.stat().st_size, rows * (len(sample) // max(len(lines), 1) + 1))

    def translate(
        self, path: Path, piece: Piece, translator: TableTranslator, output: Path
    ) -> Counts:
        """See TableFormat."""
        lines = list(_lines(path, piece))
        rows = [_parsed(line) if line.strip() else None for line in lines]
        texts = [row.get(translator.column) if isinstance(row, dict) else None for row in rows]
        translations, errors = translator.translate_texts(texts)
        bad = 0
        with output.open("wb") as file:
            for row, translation, error in zip(rows, translations, errors, strict=True):
                if row is None:  # a blank line
                    file.write(b"\n")
                    continue
                problem = row if isinstance(row, str) else error
                given = row if isinstance(row, dict) else {}
                columns = {
                    translator.output_column: translation,
                    translator.error_column: problem,
                }
                file.write(_line({**given, **columns}))
                bad += problem is not None
        return Counts(len(rows), bad)

    def join(self, parts: Sequence[Path], output: Path) -> None:
        """See TableFormat."""
        with output.open("wb") as file:
            for part in parts:
                file.write(part.read_bytes())


FORMATS: dict[str, TableFormat] = {
    ".parquet": ParquetFormat(),
    ".jsonl": JsonLinesFormat(),
    ".ndjson": JsonLinesFormat(),
}


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Have a file written beside `path`, and rename it when it is complete.

    Its name is its own: a worker that was taken for dead may still write the same.
    """
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with naming(path):
            write(partial)
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _pieces(size: int, step: int) -> list[Piece]:
    bounds = [*range(0, size, max(step, 1)), size]
    return [Piece(begin, end) for begin, end in pairwise(bounds)] or [Piece(0, 0)]


def _lines(path: Path, piece: Piece) -> Iterator[bytes]:
    """Lines that begin within the piece."""
    with path.open("rb") as file:
        if piece.begin:
            file.seek(piece.begin - 1)
            file.readline()  # the end of a line that began before, or only its line break
        while file.tell() < piece.end and (line := file.readline()):
            yield line


def _parsed(line: bytes) -> dict[str, Any] | str:
    """The object of a line, or what is wrong with it."""
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return f"the line is not JSON: {error}"
    return row if isinstance(row, dict) else "the line is JSON, but no object"


def _line(row: dict[str, Any]) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can escape
        return json.dumps(row).encode("ascii") + b"\n"


def _check_column(path: Path, column: str, names: Sequence[str]) -> None:
    if column not in names:
        listed = ", ".join(map(repr, names)) or "none"
        raise ValueError(f"{path} has no column {column!r}: it has {listed}")
