"""The formats of documents by name and by the ends of files' names, and their text as bytes."""

import codecs
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from .document import AlignedText, Document, Segment, Split
from .sentences import split_sentences

# Undecodable bytes are kept as lone surrogates (PEP 383), and written as the bytes they were.
_KEEP_BYTES = "surrogateescape"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MOST_NOTES = 20


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of document.

    Attributes:
        name: as the user says it
        suffixes: how names of such files end
        parse: (text, source, target, split=..., **options) to a document
        options: names of further arguments of `parse`
        is_text: `parse` takes text; it takes bytes otherwise
        declarations: what names the encoding in such a file, in its first group
        needs: a module that does not come with tfm
        bilingual: a document of it can be assembled with both languages
    """

    name: str
    suffixes: tuple[str, ...]
    parse: Callable[..., Any]
    options: tuple[str, ...] = ()
    bilingual: bool = False
    is_text: bool = True
    declarations: tuple[re.Pattern[str], ...] = ()
    needs: str | None = None


def _text(*args: Any, **options: Any) -> Document:
    from .plain_text import parse_text

    return parse_text(*args, **options)


def _subtitles(*args: Any, **options: Any) -> Document:
    from .subtitles import parse_subtitles

    return parse_subtitles(*args, **options)


def _html(*args: Any, **options: Any) -> Document:
    from .html_text import parse_html

    return parse_html(*args, **options)


def _markdown(*args: Any, **options: Any) -> Document:
    from .markdown import parse_markdown

    return parse_markdown(*args, **options)


def _po(*args: Any, **options: Any) -> Document:
    from .po import parse_po

    return parse_po(*args, **options)


def _xliff(*args: Any, **options: Any) -> Document:
    from .xliff import parse_xliff

    return parse_xliff(*args, **options)


def _docx(*args: Any, **options: Any) -> Any:
    from .docx import parse_docx

    return parse_docx(*args, **options)


def _csv(*args: Any, columns: Sequence[str] = (), **options: Any) -> Document:
    from .tables import parse_csv

    document = parse_csv(*args, columns=[_column(name) for name in columns], **options)
    wrong = [note for note in document.notes if note.startswith(("there is no", "there is a"))]
    if wrong:  # of the header: nothing would be translated
        raise ValueError(wrong[0])
    return document


def _tsv(*args: Any, **options: Any) -> Document:
    return _csv(*args, delimiter="\t", **options)


def _jsonl(*args: Any, columns: Sequence[str] = (), **options: Any) -> Document:
    from .json_lines import parse_jsonl

    return parse_jsonl(*args, keys=columns, **options)


def _column(name: str) -> str | int:
    """A column by its number, from 1, or by its name."""
    return int(name) if name.isascii() and name.isdigit() else name


_TABLE = ("columns", "into")
_OF_XML = re.compile(r"\A\s*<\?xml[^>]*?\bencoding\s*=\s*[\"']([\w.:-]+)")
_OF_HTML = re.compile(r"<meta\b[^>]*?\bcharset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_OF_PO = re.compile(r"^\"Content-Type:[^\"\n]*?\bcharset=([\w.:-]+)", re.IGNORECASE | re.MULTILINE)
_DECLARED_WITHIN = 8192  # characters from the beginning
FORMATS = {
    format.name: format
    for format in (
        Format("text", (".txt", ".text"), _text, bilingual=True),
        Format("srt", (".srt",), _subtitles, ("line_length",), bilingual=True),
        Format("vtt", (".vtt",), _subtitles, ("line_length",), bilingual=True),
        Format("markdown", (".md", ".markdown"), _markdown, needs="markdown_it"),
        Format("html", (".html", ".htm", ".xhtml"), _html, declarations=(_OF_XML, _OF_HTML)),
        Format("po", (".po", ".pot"), _po, declarations=(_OF_PO,)),
        Format("xliff", (".xliff", ".xlf"), _xliff, declarations=(_OF_XML,)),
        Format("docx", (".docx",), _docx, is_text=False),
        Format("csv", (".csv",), _csv, _TABLE),
        Format("tsv", (".tsv",), _tsv, _TABLE),
        Format("jsonl", (".jsonl", ".ndjson"), _jsonl, _TABLE),
    )
}


def find_format(name: str | None, path: str = "") -> Format:
    """The format of that name, or of a file of that name.

    Raises:
        ValueError: there is none
    """
    known = ", ".join(FORMATS)
    if name is not None:
        if name not in FORMATS:
            raise ValueError(f"there is no format {name!r}: choose one of {known}")
        return FORMATS[name]
    suffix = PurePath(path).suffix.lower()
    for format in FORMATS.values():
        if suffix in format.suffixes:
            return format
    raise ValueError(f"{path}: the name does not say what it is: give a format, one of {known}")


@dataclass(frozen=True, slots=True)
class FileDocument:
    """The document of a file's bytes.

    Attributes:
        format: what it is
        encoding: of its text, and of what is written
        mark: the byte order mark that it begins with
        document: its text, taken apart
        unreadable: its lines that are not in this encoding, a note for each
    """

    format: Format
    encoding: str
    mark: bytes
    document: Any
    unreadable: tuple[str, ...]
    _rewritten: list[str] = field(init=False, default_factory=list)

    @property
    def segments(self) -> Sequence[Segment]:
        """The sentences to translate; one with bytes that could not be read is to stay."""
        segments: Sequence[Segment] = self.document.segments
        return segments

    @property
    def notes(self) -> tuple[str, ...]:
        """What was wrong with the file and, after `assemble`, with its translation, a line each."""
        return (*self.unreadable, *self.document.notes, *self._rewritten)

    def assemble(self, translations: Sequence[AlignedText], *, bilingual: bool = False) -> bytes:
        """The bytes of the file with the translations; see `Document.assemble`.

        Args:
            bilingual: write the source, too

        Raises:
            ValueError: the format has no bilingual form, or the numbers do not agree
        """
        if bilingual and not self.format.bilingual:
            able = ", ".join(name for name, format in FORMATS.items() if format.bilingual)
            raise ValueError(f"{self.format.name} has no bilingual form; these have: {able}")
        both = {"bilingual": True} if bilingual else {}
        assembled = self.document.assemble(translations, **both)
        if isinstance(assembled, bytes):
            return assembled
        self._rewritten.clear()
        content, encoding = encode(assembled, self.encoding)
        if encoding != self.encoding:
            self._rewritten.append(
                f"the translation has characters that {self.encoding} lacks: written as UTF-8"
            )
        is_changed = any(
            said.text != segment.text
            for segment, said in zip(self.segments, translations, strict=True)
        )
        if is_changed and (found := _declaration(assembled, self.format)):
            begin, end = found
            if not _is_same_codec(assembled[begin:end], encoding):
                name = encoding.upper().removesuffix("-LE").removesuffix("-BE")
                content, _ = encode(f"{assembled[:begin]}{name}{assembled[end:]}", encoding)
        return self.mark + content


def read_document(
    content: bytes,
    format: Format,
    source: str,
    target: str,
    *,
    encoding: str | None = None,
    split: Split = split_sentences,
    **options: Any,
) -> FileDocument:
    """Take the content of a file apart.

    Args:
        source, target: languages, such as "zh" and "en"
        encoding: of its text; None finds out: UTF-8 or UTF-16 by its mark, else UTF-8, else what
            the file says of itself, else GB18030; where it is neither throughout, the lines that
            are not UTF-8 stay as they are
        options: of the format

    Raises:
        ValueError: the content is not in this encoding, or an option is wrong
    """
    if not format.is_text:
        document = format.parse(content, source, target, split=split, **options)
        return FileDocument(format, "", b"", document, ())
    text, encoding, mark = decode(content, encoding or _declared(content, format))
    document = format.parse(text, source, target, split=split, **options)
    return FileDocument(format, encoding, mark, document, tuple(_unreadable(text)))


def decode(content: bytes, encoding: str | None) -> tuple[str, str, bytes]:
    """The text of some bytes, the encoding that they turned out to have, and their byte order mark.

    Raises:
        ValueError: they are not in this encoding
    """
    mark = b""
    for mark_bytes, name in _MARKS:
        if content.startswith(mark_bytes) and encoding in (None, name, name[:6], "utf-8-sig"):
            mark, encoding = mark_bytes, name
            break
    content = content.removeprefix(mark)
    encoding = encoding or _guess(content)
    try:
        if mark and encoding != "utf-8" and len(content) % 2:
            raise UnicodeError("half a character at the end, which could not be written again")
        return content.decode(encoding, _KEEP_BYTES), encoding, mark
    except (UnicodeError, LookupError) as error:
        raise ValueError(f"this is not {encoding}: name another encoding") from error


def _guess(content: bytes) -> str:
    if _is_utf8(content):
        return "utf-8"
    # Text in GB18030 has hardly a line that is UTF-8 by chance, and single wrong bytes in a file of
    # UTF-8 make few that are not.
    lines = [line for line in content.split(b"\n") if not line.isascii()]
    readable = sum(map(_is_utf8, lines))
    if 2 * readable < len(lines):
        try:
            content.decode("gb18030")
            return "gb18030"
        except UnicodeDecodeError:
            pass
    return "utf-8"


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def encode(text: str, encoding: str) -> tuple[bytes, str]:
    """The bytes of a text and their encoding: UTF-8 where the text has characters that the wanted
    one lacks."""
    try:
        return text.encode(encoding, _KEEP_BYTES), encoding
    except UnicodeEncodeError:
        return text.encode("utf-8", _KEEP_BYTES), "utf-8"


def _declaration(text: str, format: Format) -> tuple[int, int] | None:
    """Where a text names its encoding."""
    for pattern in format.declarations:
        if found := pattern.search(text, 0, _DECLARED_WITHIN):
            return found.span(1)
    return None


def _declared(content: bytes, format: Format) -> str | None:
    """The encoding that a file names, if it is in that one; None where it has a byte order mark,
    or has other characters than ASCII and is UTF-8, as files are that nobody declared anew."""
    if content.startswith(tuple(mark for mark, _ in _MARKS)):
        return None
    beginning = content[:_DECLARED_WITHIN].decode("latin-1")  # a declaration is ASCII
    found = _declaration(beginning, format)
    if found is None or (not content.isascii() and _is_utf8(content)):
        return None
    name = beginning[slice(*found)].lower()
    try:
        readable = content.decode(name)
    except (UnicodeError, LookupError):
        return None
    return name if _declaration(readable, format) == found else None


def _is_same_codec(name: str, other: str) -> bool:
    try:
        return codecs.lookup(name) == codecs.lookup(other)
    except LookupError:
        return False


def is_readable(text: str) -> bool:
    """Whether all bytes of a text could be decoded."""
    return not any("\udc80" <= char <= "\udcff" for char in text)


def _unreadable(text: str) -> list[str]:
    """A note for each line with bytes that could not be decoded."""
    if is_readable(text):
        return []
    lines = [number for number, line in enumerate(text.split("\n"), 1) if not is_readable(line)]
    notes = [f"line {number}: not in this encoding, left as it is" for number in lines]
    if len(notes) > _MOST_NOTES:
        notes[_MOST_NOTES:] = [f"and {len(notes) - _MOST_NOTES} more lines"]
    return notes
