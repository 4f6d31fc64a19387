"""Word documents (.docx): paragraphs are translated by sentences, and their text goes back into
runs with the formats of the words that it comes from; all else stays.

The body, headers, footers, footnotes, endnotes, comments and text boxes are translated; drawings'
own texts, charts and properties are not. Entries of the archive that do not change are copied bit
for bit. Segments stand in the document's text: its paragraphs, with line breaks between them.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from tfm.runtime.scripts import is_spaced

from .document import AlignedText, Segment, Split, check_count
from .docx_formats import formats_of
from .docx_runs import DEEPEST, Atom, AtomKind, PartXml, RunWriter, atoms_of
from .docx_shape import shape_of
from .inline_markup import Block, MarkedSentence
from .sentences import split_sentences
from .zip_archive import ZipArchive

_BODY = re.compile(r"word/document\d*\.xml")
_OTHERS = re.compile(r"word/(?:header|footer|footnotes|endnotes|comments)\d*\.xml")
_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


@dataclass(frozen=True, slots=True)
class _DocxParagraph:
    """A paragraph that has sentences: its content is the tokens [first, after)."""

    first: int
    after: int
    sentences: Sequence[MarkedSentence]


@dataclass(frozen=True, slots=True)
class _DocxPart:
    """An entry of the archive that holds paragraphs."""

    name: str
    encoding: str
    xml: PartXml
    paragraphs: Sequence[_DocxParagraph]


@dataclass(slots=True)
class DocxDocument:
    """A Word document whose sentences were found.

    Attributes:
        segments: the sentences
        problems: those that were found in parsing
        spaced: the target language has spaces between sentences
    """

    segments: Sequence[Segment]
    problems: Sequence[str]
    spaced: bool
    _archive: ZipArchive = field(repr=False)
    _parts: Sequence[_DocxPart] = field(repr=False)
    _lost: list[str] = field(init=False, default_factory=list)

    @property
    def notes(self) -> Sequence[str]:
        """What was wrong with the document and, after assemble(), with its translations."""
        return [*self.problems, *self._lost]

    def assemble(self, translations: Sequence[AlignedText]) -> bytes:
        """The document's bytes; see `Document.assemble`."""
        check_count(self.segments, translations)
        self._lost.clear()
        contents: dict[str, bytes] = {}
        position = 0
        for part in self._parts:
            count = sum(len(paragraph.sentences) for paragraph in part.paragraphs)
            text = self._part(part, translations[position : position + count])
            position += count
            if text != part.xml.text:
                contents[part.name] = text.encode(part.encoding)
        return self._archive.replaced(contents)

    def _part(self, part: _DocxPart, translations: Sequence[AlignedText]) -> str:
        """The XML of a part. Paragraphs within others, in text boxes, are written first."""
        written = _Written(part.xml.text)
        end = len(translations)
        for number in reversed(range(len(part.paragraphs))):
            paragraph = part.paragraphs[number]
            begin = end - len(paragraph.sentences)
            own = translations[begin:end]
            end = begin
            if all(
                said.text == sentence.text
                for said, sentence in zip(own, paragraph.sentences, strict=True)
            ):
                continue
            place = part.xml.place(paragraph.first, paragraph.after)
            content = self._paragraph(part.xml, paragraph, own, written)
            if shape_of(content) == shape_of(written.emit(*place)):
                written.add(*place, content)
            else:
                self._lost.append(
                    f"{part.name}: the markup of a paragraph would be out of order, so it is left:"
                    f" {paragraph.sentences[0].text[:60]!r}"
                )
        return written.emit(0, len(part.xml.text))

    def _paragraph(
        self,
        xml: PartXml,
        paragraph: _DocxParagraph,
        translations: Sequence[AlignedText],
        written: "_Written",
    ) -> str:
        atoms = atoms_of(xml, paragraph.first, paragraph.after)
        writer = RunWriter(xml.prefix, written.emit)

        def emit(begin: int, end: int) -> str:
            return writer.atoms(atoms[begin:end])

        parts: list[str] = []
        position = 0
        for number, sentence in enumerate(paragraph.sentences):
            translation = translations[number]
            if translation.text == sentence.text:
                parts.append(emit(position, sentence.end))
            else:
                between = atoms[position : sentence.begin]
                space_at = sentence.space_at if number and self.spaced else None
                if space_at is not None and not _starts_with_space(atoms[space_at:]):
                    between = _with_space(atoms, position, space_at, sentence.begin)
                elif number and not self.spaced and [atom.said for atom in between] == [" "]:
                    between = []
                parts.append(writer.atoms(between))
                formats = formats_of(atoms[sentence.begin : sentence.end], sentence, translation)
                spelling = _Spelling(writer, formats)
                parts.append(sentence.render(translation, spelling.write, emit))
            position = sentence.end
        return writer.finished("".join([*parts, emit(position, len(atoms))]))


def parse_docx(
    content: bytes, source: str, target: str, *, split: Split = split_sentences
) -> DocxDocument:
    """The sentences of a Word document.

    Args:
        content: the file
        source, target: languages, such as "zh" and "en"
        split: finds the sentences of a paragraph

    Raises:
        ValueError: this is no .docx, or one that is cut off or encrypted
    """
    archive = ZipArchive(content)
    names = [name for name in archive.names if _BODY.fullmatch(name)]
    if not names:
        raise ValueError("no Word document: the archive has no word/document.xml")
    names += [name for name in archive.names if _OTHERS.fullmatch(name)]
    parts: list[_DocxPart] = []
    notes: list[str] = []
    segments: list[Segment] = []
    position = 0
    for name in names:
        try:
            text, encoding = _decoded(archive.read(name))
            xml = PartXml(text)
        except ValueError as error:
            notes.append(f"{name} is left as it is: {error}")
            continue
        paragraphs: list[_DocxParagraph] = []
        for first, after in xml.paragraphs():
            atoms = atoms_of(xml, first, after)
            sentences = _block(atoms).sentences(split)
            if sentences:
                paragraphs.append(_DocxParagraph(first, after, sentences))
                segments += [_segment(sentence, atoms, position) for sentence in sentences]
            position += sum(len(atom.said) for atom in atoms if not atom.field) + 1
        if xml.too_deep:
            notes.append(
                f"{name}: {xml.too_deep} text boxes within {DEEPEST} others stay as they are"
            )
        parts.append(_DocxPart(name, encoding, xml, paragraphs))
    return DocxDocument(segments, notes, is_spaced(target), archive, parts)


def _segment(sentence: MarkedSentence, atoms: Sequence[Atom], position: int) -> Segment:
    begin = position + sentence.offset
    formats = {
        atom.format
        for atom in atoms[sentence.begin : sentence.end]
        if atom.kind is AtomKind.CHARACTER
    }
    marks = len(formats) > 1 or bool(sentence.items)
    return Segment(sentence.text, begin, begin + len(sentence.text), marks)


def _block(atoms: Sequence[Atom]) -> Block:
    """The text of a paragraph, with its markup: places are numbers of atoms."""
    block = Block(keep_lines=True)
    for number, atom in enumerate(atoms):
        place = number, number + 1
        if atom.kind is AtomKind.CHARACTER:
            block.add_text(" " if atom.said in "\n\t" else atom.said, *place)
        elif atom.kind is AtomKind.BREAK:
            block.add_text(atom.said, *place)
        elif atom.kind is AtomKind.OPEN:
            block.add_open(atom.name, *place)
        elif atom.kind is AtomKind.CLOSE:
            block.add_close(atom.name, *place)
        else:
            block.add_kept("", *place)
    return block


def _decoded(content: bytes) -> tuple[str, str]:
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    return content.decode(encoding), encoding


def _starts_with_space(atoms: Sequence[Atom]) -> bool:
    said = (AtomKind.CHARACTER, AtomKind.BREAK)
    return next((atom.said.isspace() for atom in atoms if atom.kind in said), False)


def _with_space(atoms: Sequence[Atom], begin: int, at: int, end: int) -> list[Atom]:
    """Atoms with a space, in the format of the character before it."""
    before = (atom for atom in reversed(atoms[:at]) if atom.kind is AtomKind.CHARACTER)
    last = next(before, None)
    space = Atom(AtomKind.CHARACTER, " ", last.format if last else "")
    return [*atoms[begin:at], space, *atoms[at:end]]


class _Spelling:
    """Writes a translation as runs, piece by piece in its order."""

    def __init__(self, writer: RunWriter, formats: Sequence[str]) -> None:
        self._writer, self._formats = writer, formats
        self._position = 0

    def write(self, text: str) -> str:
        """The next piece."""
        begin, self._position = self._position, self._position + len(text)
        return self._writer.text(text, self._formats[begin : self._position])


class _Written:
    """A text with paragraphs written anew, from the last to the first; those around others
    contain them."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._begins: list[int] = []  # negative, so in order
        self._parts: list[tuple[int, str]] = []

    def add(self, begin: int, end: int, content: str) -> None:
        """Put a text in the place of [begin, end) and all that was put there."""
        while self._begins and -self._begins[-1] < end:
            self._begins.pop()
            self._parts.pop()
        self._begins.append(-begin)
        self._parts.append((end, content))

    def emit(self, begin: int, end: int) -> str:
        """The part [begin, end) of the text, as it is now."""
        pieces: list[str] = []
        number = bisect_left(self._begins, 1 - begin) - 1
        while number >= 0 and -self._begins[number] < end:
            first = -self._begins[number]
            last, content = self._parts[number]
            pieces += [self._text[begin:first], content]
            begin = last
            number -= 1
        return "".join([*pieces, self._text[begin:end]])
