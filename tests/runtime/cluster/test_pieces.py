"""Files in pieces: each row is in one piece, and the pieces together are the file."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.needs import needs_module
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfm.runtime.cluster import pieces
from tfm.runtime.cluster.table_translator import TableTranslator
from tfm.runtime.files.atomic import write_bytes

LINES = st.lists(
    st.sampled_from([b"", b"{}", b'{"text": "one"}', b"bad", b'{"text": "' + b"x" * 40 + b'"}']),
    max_size=12,
)


class Capitals(TableTranslator):
    """Says what it is given in capitals."""

    def translate_texts(self, texts: Any) -> Any:
        """None and whatever is no text stay."""
        return [t.upper() if isinstance(t, str) else None for t in texts], [None] * len(texts)


CAPITALS = Capitals()


@given(LINES, st.booleans(), st.integers(1, 5))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_lines_are_in_one_piece_each(
    tmp_path: Path, lines: list[bytes], at_end: bool, rows: int
) -> None:
    path, output = tmp_path / "a.jsonl", tmp_path / "out.jsonl"
    text = b"\n".join(lines) + (b"\n" if at_end and lines else b"")
    path.write_bytes(text)
    kind = pieces.JsonLinesFormat()
    found = pieces._pieces(len(text), rows * 8)
    parts = [tmp_path / f"{number}" for number in range(len(found))]
    counts = [kind.translate(path, p, CAPITALS, to) for p, to in zip(found, parts, strict=True)]
    kind.join(parts, output)
    given = text.splitlines()
    assert sum(count.rows for count in counts) == len(given)
    assert sum(count.errors for count in counts) == given.count(b"bad")
    written = output.read_bytes().split(b"\n")
    assert written.pop() == b""
    for before, after in zip(given, written, strict=True):
        if before in (b"", b"bad"):
            assert bool(after) == bool(before)
            continue
        row = json.loads(before)
        wanted = row["text"].upper() if "text" in row else None
        assert json.loads(after) == {**row, "translation": wanted, "error": None}


@pytest.mark.parametrize("row_group", [1, 3, 7, 100])
@pytest.mark.parametrize("rows", [1, 2, 5, 100])
def test_rows_of_parquet(tmp_path: Path, row_group: int, rows: int) -> None:
    arrow = needs_module("pyarrow")
    parquet = needs_module("pyarrow.parquet")
    columns = {"text": [f"a{n}" if n % 4 else None for n in range(20)], "n": list(range(20))}
    table = arrow.table(columns).replace_schema_metadata({"made": "here"})
    path, output = tmp_path / "a.parquet", tmp_path / "out.parquet"
    parquet.write_table(table, path, row_group_size=row_group)
    kind = pieces.ParquetFormat()
    found = kind.split(path, "text", rows)
    assert len(found) == -(-20 // rows)
    parts = [tmp_path / f"{number}" for number in range(len(found))]
    counts = [kind.translate(path, p, CAPITALS, to) for p, to in zip(found, parts, strict=True)]
    kind.join(parts, output)
    assert sum(count.rows for count in counts) == 20
    written = parquet.read_table(output)
    assert written.select(["text", "n"]).equals(table)
    assert written.schema.metadata[b"made"] == b"here"
    capitals = [text and text.upper() for text in columns["text"]]
    assert written.column("translation").to_pylist() == capitals


def test_files_without_rows(tmp_path: Path) -> None:
    arrow = needs_module("pyarrow")
    parquet = needs_module("pyarrow.parquet")
    parquet.write_table(arrow.table({"text": arrow.array([], arrow.string())}), tmp_path / "a")
    (piece,) = pieces.ParquetFormat().split(tmp_path / "a", "text", 10)
    counts = pieces.ParquetFormat().translate(tmp_path / "a", piece, CAPITALS, tmp_path / "b")
    assert counts == pieces.Counts(0, 0)
    names = parquet.read_schema(tmp_path / "b").names
    assert names == ["text", "translation", "error"]
    (tmp_path / "c").write_bytes(b"")
    assert pieces.JsonLinesFormat().split(tmp_path / "c", "text", 10) == [pieces.Piece(0, 0)]


def test_pieces_have_about_as_many_rows_as_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one two"}\n' * 1000, "utf-8")
    found = pieces.JsonLinesFormat().split(path, "text", 100)
    assert 9 <= len(found) <= 11


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_files_that_cannot_be_taken(tmp_path: Path, suffix: str) -> None:
    needs_module("pyarrow.parquet")
    path = tmp_path / f"a{suffix}"
    write_bytes(path, b'{"en": "one"}\n')
    with pytest.raises(pieces.READ_ERRORS, match=r"no column 'zh': it has 'en'|[Pp]arquet"):
        pieces.FORMATS[suffix].split(path, "zh", 10)


def test_half_of_a_surrogate_pair_stays_as_it_was(tmp_path: Path) -> None:
    path, output = tmp_path / "a.jsonl", tmp_path / "out"
    path.write_bytes(b'{"text": "one", "id": "\\ud800"}\n')
    piece = pieces.Piece(0, path.stat().st_size)
    pieces.JsonLinesFormat().translate(path, piece, CAPITALS, output)
    assert json.loads(output.read_bytes())["id"] == "\ud800"
