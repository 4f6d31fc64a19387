"""CSV and TSV: the texts of some columns, and every other byte as it was.

Fields are those of RFC 4180. Of a table with another delimiter than the tab, quoted fields may hold
line breaks, and what needs quotes gets them. Tables with tabs are often written without any
quoting, so there a quote that is not closed on its line is a character like others, and tabs and
line breaks of a translation become spaces.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from .document import Split
from .embedded import Edit, EmbeddedDocument, EmbeddedText, Entry
from .plain_text import parse_text
from .sentences import split_sentences

LONGEST_FIELD = 1 << 20  # characters; a quote that is not closed by then never is
_LINE = re.compile(r"[^\r\n]*+(?:\r\n?|\n)|[^\r\n]++")
_OPENED = re.compile(r'"(?:[^"]|"")*+')
_ODD_QUOTES = re.compile(r'(?<!")(?:"")*+"(?!")')


def lines_of(text: str) -> Iterator[str]:
    """The lines of a text with their ends: LF, CR LF or CR."""
    return (found.group() for found in _LINE.finditer(text))


@dataclass(frozen=True, slots=True)
class Columns:
    """What is translated of a table, and where the translations go.

    Attributes:
        columns: names of the header, or numbers from 1
        into: names of new columns behind all others, one for each; () writes in place
        header: the first record has the names
    """

    columns: Sequence[str | int]
    into: Sequence[str]
    header: bool

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError("no column to translate is named")
        if self.into and len(self.into) != len(self.columns):
            raise ValueError(
                f"{len(self.columns)} columns to translate into {len(self.into)} new ones: name as"
                " many"
            )
        for column in self.columns:
            if isinstance(column, int) and column < 1:
                raise ValueError(f"there is no column {column}: they are counted from 1")
            if isinstance(column, str) and not self.header:
                raise ValueError(f"column {column!r}: a table without a header has numbers only")


def parse_csv(
    text: str,
    source: str,
    target: str,
    *,
    columns: Sequence[str | int],
    delimiter: str = ",",
    into: Sequence[str] = (),
    header: bool | None = None,
    multiline: bool | None = None,
    split: Split = split_sentences,
) -> EmbeddedDocument:
    """The sentences of some columns of a table.

    Args:
        source, target: languages, such as "zh" and "en"
        columns: names of the header, or numbers from 1
        delimiter: one character
        into: names of new columns for the translations, behind all others; () writes in place
        header: the first record has names; None: it has if a column is named or is new
        multiline: quoted fields may hold line breaks and what needs quotes gets them; None: unless
            the delimiter is a tab
        split: finds the sentences of a field

    Raises:
        ValueError: columns, into or delimiter cannot be used
    """
    wanted = Columns(columns, into, _has_header(columns, into, header))
    reader = _CsvReader((source, target), wanted, delimiter, multiline, split)
    entries: list[Entry] = []
    notes: list[str] = []
    offset = 0
    for record in reader.records(lines_of(text)):
        entries += reader.entries(record, offset)
        notes += record.notes
        offset += len(record.text)
    return EmbeddedDocument(text, entries, notes)


def iterate_csv(
    lines: Iterable[str],
    source: str,
    target: str,
    *,
    columns: Sequence[str | int],
    delimiter: str = ",",
    into: Sequence[str] = (),
    header: bool | None = None,
    multiline: bool | None = None,
    split: Split = split_sentences,
) -> Iterator[EmbeddedDocument]:
    """The records of a table of any size, one by one, each with its line end.

    Args:
        lines: with their ends, as a file that was opened with newline="" gives them

    The other arguments and the errors are those of parse_csv.
    """
    wanted = Columns(columns, into, _has_header(columns, into, header))
    reader = _CsvReader((source, target), wanted, delimiter, multiline, split)
    for record in reader.records(lines):
        entries = reader.entries(record, 0)
        yield EmbeddedDocument(record.text, entries, record.notes, first_line=record.line)


def _has_header(columns: Sequence[str | int], into: Sequence[str], header: bool | None) -> bool:
    if header is None:
        return bool(into) or any(isinstance(column, str) for column in columns)
    return header


@dataclass(slots=True)
class _Record:
    """A record with its line end.

    Attributes:
        line: the number of its first line, from 1
        fields: where each begins and ends
        notes: what is wrong with it
    """

    text: str
    line: int
    fields: list[tuple[int, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def value(self, number: int) -> str:
        """What a field says."""
        begin, end = self.fields[number]
        if self.is_quoted(number):
            return self.text[begin + 1 : end - 1].replace('""', '"')
        return self.text[begin:end]

    def line_at(self, begin: int) -> int:
        """The number of the line that a field begins in."""
        within = begin > 0 and self.text[begin - 1] not in "\r\n"
        return self.line + len(_LINE.findall(self.text, 0, begin)) - within

    def is_quoted(self, number: int) -> bool:
        """A field is written in quotes."""
        begin, end = self.fields[number]
        raw = self.text[begin:end]
        return len(raw) > 1 and raw[0] == raw[-1] == '"' and _ODD_QUOTES.search(raw[1:-1]) is None


class _CsvReader:
    """Finds records, fields and texts."""

    def __init__(
        self,
        languages: tuple[str, str],
        columns: Columns,
        delimiter: str,
        multiline: bool | None,
        split: Split,
    ) -> None:
        if len(delimiter) != 1 or delimiter in '"\r\n':
            raise ValueError(f"the delimiter {delimiter!r} must be one character, and no quote")
        self._languages, self._columns, self._split = languages, columns, split
        self._delimiter = delimiter
        self._multiline = delimiter != "\t" if multiline is None else multiline
        special = re.escape(delimiter)
        self._plain = re.compile(rf"[^{special}\r\n]*+")
        self._quoted = re.compile(rf'"(?:[^"]|"")*+"(?=[{special}\r\n]|\Z)')
        self._special = re.compile(rf'[{special}"\r\n]')
        self._back: list[str] = []  # lines that were read too early, the next one last
        self._numbers: list[int] | None = None  # of the columns, from 0
        self._width = 0

    def records(self, lines: Iterable[str]) -> Iterator[_Record]:
        """All of the table."""
        source = iter(lines)
        line = 1
        while (text := self._next(source)) is not None:
            record = _Record(text, line)
            self._find_fields(record, source)
            yield record
            line += sum(1 for _ in _LINE.finditer(record.text))

    def _next(self, lines: Iterator[str]) -> str | None:
        return self._back.pop() if self._back else next(lines, None)

    def _find_fields(self, record: _Record, lines: Iterator[str]) -> None:
        position = 1 if record.line == 1 and record.text.startswith("\ufeff") else 0
        while True:
            end = self._end_of_field(record, position, lines)
            record.fields.append((position, end))
            position = end + 1
            if not record.text.startswith(self._delimiter, end):
                break
        line_end = _LINE.match(record.text, end)
        if line_end is not None and line_end.end() < len(record.text):
            self._back += reversed(list(lines_of(record.text[line_end.end() :])))
            record.text = record.text[: line_end.end()]

    def _end_of_field(self, record: _Record, begin: int, lines: Iterator[str]) -> int:
        if record.text.startswith('"', begin):
            found = self._quoted.match(record.text, begin)
            if found is None and self._multiline:
                found = self._over_lines(record, begin, lines)
            if found is not None:
                return found.end()
            if self._multiline and not record.notes:
                record.notes.append(
                    f"line {record.line_at(begin)}: the quote of field {len(record.fields) + 1} is"
                    f" not closed before a {self._delimiter!r} or the line's end: it is taken as a"
                    " character"
                )
        plain = self._plain.match(record.text, begin)
        assert plain is not None
        return plain.end()

    def _over_lines(
        self, record: _Record, begin: int, lines: Iterator[str]
    ) -> re.Match[str] | None:
        """The quoted field that goes on in the next lines. The record gets them, and more of them
        the more it has, so that fields of many lines are not copied again and again."""
        opened = _OPENED.match(record.text, begin)
        closed = opened is not None and opened.end() < len(record.text)
        if not closed:
            more: list[str] = []
            length, enough = 0, LONGEST_FIELD
            while length < enough and (line := self._next(lines)) is not None:
                more.append(line)
                length += len(line)
                if not closed and _ODD_QUOTES.search(line) is not None:
                    closed, enough = True, len(record.text)
            record.text += "".join(more)
        return self._quoted.match(record.text, begin) if closed else None

    def entries(self, record: _Record, offset: int) -> list[Entry]:
        """The texts of a record, which stands at an offset of the whole text; notes what it
        lacks."""
        if self._numbers is None:
            self._numbers = self._find_columns(record)
            if self._columns.header:
                return [self._new_names(record, offset)] if self._is_wider else []
        if len(record.fields) == 1 and not record.text.strip("\r\n\ufeff"):
            return []  # a blank line
        if self._is_wider and len(record.fields) != self._width:
            record.notes.append(
                f"line {record.line}: {len(record.fields)} fields, where the first record has"
                f" {self._width}: left as it is"
            )
            return []
        entries = []
        for number in self._numbers:
            if number >= len(record.fields):
                record.notes.append(
                    f"line {record.line}: {len(record.fields)} fields, and none is number"
                    f" {number + 1}"
                )
            else:
                entries.append(self._entry(record, number, offset))
        return entries

    @property
    def _is_wider(self) -> bool:
        return bool(self._columns.into) and bool(self._numbers)

    def _find_columns(self, record: _Record) -> list[int]:
        """The numbers of the columns, from 0, by the first record."""
        self._width = len(record.fields)
        if not self._columns.header:
            return [int(column) - 1 for column in self._columns.columns]
        names = [record.value(number).strip() for number in range(self._width)]
        numbers = []
        for column in self._columns.columns:
            if isinstance(column, str) and column in names:
                numbers.append(names.index(column))
            elif isinstance(column, int) and column <= self._width:
                numbers.append(column - 1)
            else:
                record.notes.append(f"there is no column {column!r}: the table has {_list(names)}")
        taken = [name for name in self._columns.into if name in names]
        if taken:
            record.notes.append(f"there is a column {taken[0]!r} already: name another new one")
        if self._columns.into and (taken or len(numbers) < len(self._columns.columns)):
            return []
        return numbers

    def _new_names(self, record: _Record, offset: int) -> Entry:
        end = offset + record.fields[-1][1]
        text = "".join(self._delimiter + self._spell(name, False) for name in self._columns.into)
        return Entry((), lambda _texts: ([(end, end, text)], ""))

    def _entry(self, record: _Record, number: int, offset: int) -> Entry:
        value = record.value(number)
        begin, end = (offset + place for place in record.fields[number])
        quoted = record.is_quoted(number)
        document = parse_text(value, *self._languages, split=self._split)
        inside = EmbeddedText(document, begin + quoted, end - quoted)
        raw = record.text[slice(*record.fields[number])]
        write = _writer(value, raw, lambda text: self._spell(text, quoted))
        if self._columns.into:
            at = offset + record.fields[-1][1]
            return Entry([inside], lambda texts: ([(at, at, self._delimiter + write(texts))], ""))

        def in_place(texts: Sequence[str]) -> tuple[Sequence[Edit], str]:
            return ([] if texts[0] == value else [(begin, end, write(texts))]), ""

        return Entry([inside], in_place)

    def _spell(self, text: str, quoted: bool) -> str:
        """What stands in the table for a text."""
        if not self._multiline:
            text = re.sub(r"\r\n?|\n" if quoted else rf"\r\n?|\n|{self._delimiter}", " ", text)
        needed = self._multiline and (not text or self._special.search(text) is not None)
        if quoted or needed:
            return '"' + text.replace('"', '""') + '"'
        return text


def _writer(value: str, raw: str, spell: Callable[[str], str]) -> Callable[[Sequence[str]], str]:
    """Spells what changed; what did not keeps its spelling."""
    return lambda texts: raw if texts[0] == value else spell(texts[0])


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:20]))
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"
