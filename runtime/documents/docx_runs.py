"""Paragraphs of WordprocessingML as atoms: characters with their formats, and what stands between
them (ECMA-376, part 1, sections 17.3 and 17.16).

A format is a run's properties as they are written. Runs are written anew: the same characters with
the same formats, so a run may become several or one.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from .html_tokens import Kind, Token, tokenize
from .xml_text import attributes_of, escape_xml, local_name, unescape_xml

# Elements around runs whose text is translated, and what they begin with.
CONTAINERS = frozenset({"hyperlink", "ins", "moveTo", "sdt", "smartTag", "customXml", "dir", "bdo"})
DEEPEST = 10  # paragraphs around one that is translated: text boxes in text boxes
_PROPERTIES = frozenset({"sdtPr", "sdtEndPr", "smartTagPr", "customXmlPr"})
_BREAKS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n"}
# What Word notes about the last layout and spelling: it finds it out again.
_DROPPED = frozenset({"proofErr", "lastRenderedPageBreak"})
_NAMESPACE = re.compile(
    r"""xmlns(?::([^\s=]+))?\s*=\s*["'](?:http://schemas\.openxmlformats\.org/wordprocessingml/2006/main"""
    r"""|http://purl\.oclc\.org/ooxml/wordprocessingml/main)["']"""
)
_RANGE = re.compile(r"(bookmark|commentRange|perm|moveToRange|moveFromRange)(Start|End)")


_MARK = "\0"  # XML has none
_NO_BREAKS = {ord("\n"): " ", ord("\r"): " ", ord("\t"): " "}


class AtomKind(Enum):
    """What an atom is."""

    CHARACTER = "character"
    BREAK = "break"  # a tab or a line break
    KEPT = "kept"
    OPEN = "open"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class RawPiece:
    """Markup at [begin, end) of the part, in a run of a format; at None in none."""

    format: str | None
    begin: int
    end: int


@dataclass(slots=True)
class Atom:
    """A character, or what stands between characters.

    Attributes:
        said: the character; for breaks a tab or a line feed
        format: of a character
        pieces: markup that is written as it was; none for characters
        name: what the beginning and the end of a range have in common
        field: what a field's part is: "begin", "separate", "end", "code" or ""
        element: the text element of a character, for where it is written as it was
    """

    kind: AtomKind
    said: str = ""
    format: str = ""
    pieces: tuple[RawPiece, ...] = ()
    name: str = ""
    field: str = ""
    element: RawPiece | None = None


class PartXml:
    """The XML of a part, with all elements' ends.

    Attributes:
        prefix: of WordprocessingML's names, such as "w:"
        tokens: all of it
        ends: the token that ends an element, by the one that begins it
        too_deep: paragraphs that were passed over so far
    """

    def __init__(self, text: str) -> None:
        """Find the elements.

        Raises:
            ValueError: it is not well-formed
        """
        self.text = text
        if _MARK in text:
            raise ValueError("it has a character NUL")
        found = _NAMESPACE.search(text)
        self.prefix = f"{found.group(1)}:" if found and found.group(1) else ""
        self.tokens = list(tokenize(text, xml=True))
        self.ends: dict[int, int] = {}
        self.too_deep = 0
        opened: list[int] = []
        for number, token in enumerate(self.tokens):
            if token.kind is Kind.OPEN:
                opened.append(number)
            elif token.kind is Kind.CLOSE:
                if not opened or self.tokens[opened[-1]].name != token.name:
                    line = text.count("\n", 0, token.begin) + 1
                    raise ValueError(f"</{token.name}> in line {line} ends nothing that is open")
                self.ends[opened.pop()] = number
        if opened:
            raise ValueError(f"<{self.tokens[opened[-1]].name}> does not end")

    def paragraphs(self) -> Iterator[tuple[int, int]]:
        """The first token of each paragraph's content, and the one behind the last; not of those
        within DEEPEST others, which are written anew once for each."""
        around: list[int] = []  # where the paragraphs end that are open
        for number, end in sorted(self.ends.items()):
            if self.tokens[number].name == f"{self.prefix}p":
                while around and around[-1] < number:
                    around.pop()
                around.append(end)
                if len(around) > DEEPEST:
                    self.too_deep += 1
                    continue
                first = number + 1
                while first < end and self._is_properties(first):
                    first = self.after(first)
                yield first, end

    def after(self, number: int) -> int:
        """The token behind an element, or behind a token that begins none."""
        return self.ends.get(number, number) + 1

    def _is_properties(self, number: int) -> bool:
        token = self.tokens[number]
        return local_name(token.name) == "pPr" and token.kind is not Kind.CLOSE

    def place(self, first: int, after: int) -> tuple[int, int]:
        """Where tokens begin and end."""
        return self.tokens[first].begin, self.tokens[after - 1].end

    def attributes(self, token: Token) -> dict[str, str]:
        """Of a tag, by their names without prefix."""
        found = attributes_of(self.text[token.begin : token.end])
        return {local_name(name): value for name, value in found.items()}


def atoms_of(part: PartXml, first: int, after: int) -> list[Atom]:
    """The content of a paragraph, with fields and ranges as far as they are within it."""
    return _paired_ranges(_whole_fields(list(_flat(part, first, after))))


def _flat(part: PartXml, first: int, after: int) -> Iterator[Atom]:
    number = first
    while number < after:
        token, start = part.tokens[number], number
        name = local_name(token.name)
        number = part.after(start)
        place = RawPiece(None, *part.place(start, number))
        if token.kind is Kind.TEXT:
            if part.text[token.begin : token.end].strip():
                yield Atom(AtomKind.KEPT, pieces=(place,))
        elif name in _DROPPED:
            pass
        elif token.kind is Kind.CLOSE:
            number = start + 1
            if name == "sdtContent":
                number += 1
            yield Atom(
                AtomKind.CLOSE, pieces=(RawPiece(None, *part.place(start, number)),), name=name
            )
        elif name == "r" and token.kind is Kind.OPEN:
            yield from _run(part, start + 1, number - 1)
        elif name in CONTAINERS and token.kind is Kind.OPEN and (inside := _inside(part, start)):
            number = inside
            name = "sdtContent" if name == "sdt" else name
            yield Atom(
                AtomKind.OPEN, pieces=(RawPiece(None, *part.place(start, number)),), name=name
            )
        else:
            found = _RANGE.fullmatch(name)
            ranged = f"{found[1]} {part.attributes(token).get('id', '')}" if found else ""
            field = "" if found is None else found[2].lower()
            yield Atom(AtomKind.KEPT, pieces=(place,), name=ranged, field=field)


def _inside(part: PartXml, container: int) -> int:
    """The first token of a container's content; 0 if it has an unusual form."""
    number = container + 1
    while local_name(part.tokens[number].name) in _PROPERTIES:
        number = part.after(number)
    if local_name(part.tokens[container].name) != "sdt":
        return number
    content = part.tokens[number]
    if local_name(content.name) != "sdtContent" or content.kind is not Kind.OPEN:
        return 0
    return number + 1 if part.ends[number] + 1 == part.ends[container] else 0


def _run(part: PartXml, first: int, after: int) -> Iterator[Atom]:
    """What is in a run."""
    properties = ""
    number = first
    while number < after:
        token, start = part.tokens[number], number
        name = local_name(token.name)
        number = part.after(start)
        begin, end = part.place(start, number)
        pieces = (RawPiece(properties, begin, end),)
        if name == "rPr":
            properties = part.text[begin:end] if token.kind is Kind.OPEN else ""
        elif name == "t":
            if token.kind is Kind.OPEN:
                text = _text(part, start, number - 1)
                yield from (
                    Atom(AtomKind.CHARACTER, char, properties, element=pieces[0]) for char in text
                )
        elif name in _BREAKS:
            yield Atom(AtomKind.BREAK, _BREAKS[name], pieces=pieces)
        elif name == "noBreakHyphen":
            yield Atom(AtomKind.CHARACTER, "\u2011", properties, pieces)
        elif name == "fldChar":
            field = part.attributes(token).get("fldCharType", "")
            yield Atom(AtomKind.KEPT, pieces=pieces, field=field)
        elif name == "instrText":
            said = part.text[token.end : part.tokens[number - 1].begin]
            yield Atom(AtomKind.KEPT, said, pieces=pieces, field="code")
        elif name not in _DROPPED and not (
            token.kind is Kind.TEXT and part.text[begin:end].isspace()
        ):
            yield Atom(AtomKind.KEPT, pieces=pieces)


def _text(part: PartXml, first: int, last: int) -> str:
    """What a text element says; without xml:space="preserve" spaces around it say nothing."""
    said = ""
    for token in part.tokens[first + 1 : last]:
        raw = part.text[token.begin : token.end]
        if token.kind is Kind.TEXT:
            said += unescape_xml(raw)
        elif raw.startswith("<![CDATA["):
            said += raw[9:-3]
    preserved = part.attributes(part.tokens[first]).get("space") == "preserve"
    return said if preserved else said.strip(" \t\r\n")


def _whole_fields(atoms: list[Atom]) -> list[Atom]:
    """Fields that are within a paragraph: a link's as the tags around its text, others as one."""
    out: list[Atom] = []
    fields: list[tuple[int, int, int]] = []  # where each begins and is separated, and how deep
    depth, number = 0, 0
    for atom in atoms:
        depth += {AtomKind.OPEN: 1, AtomKind.CLOSE: -1}.get(atom.kind, 0)
        while fields and fields[-1][2] > depth:
            fields.pop()
        out.append(atom)
        if atom.name or (not fields and atom.field != "begin"):
            continue
        if atom.field == "begin":
            fields.append((len(out) - 1, -1, depth))
        elif atom.field == "separate" and fields[-1][2] == depth:
            fields[-1] = fields[-1][0], len(out), depth
        elif atom.field == "end":
            begin, separate, at_depth = fields.pop()
            if at_depth != depth:
                continue
            number += 1
            code = "".join(part.said for part in out[begin:separate] if part.field == "code")
            if separate < 0 or code.split()[:1] != ["HYPERLINK"]:
                out[begin:] = [_joined(AtomKind.KEPT, out[begin:], "")]
                continue
            name = f"field {number}"
            opening = _joined(AtomKind.OPEN, out[begin:separate], name)
            closing = _joined(AtomKind.CLOSE, out[-1:], name)
            out[begin:] = [opening, *out[separate:-1], closing]
    return out


def _joined(kind: AtomKind, atoms: Sequence[Atom], name: str) -> Atom:
    """One atom of several; a text element, which has an atom for each character, comes once."""
    pieces: dict[RawPiece, None] = {}
    for atom in atoms:
        pieces.update(dict.fromkeys(atom.pieces or ([atom.element] if atom.element else [])))
    return Atom(kind, pieces=tuple(pieces), name=name)


def _paired_ranges(atoms: list[Atom]) -> list[Atom]:
    """Bookmarks and the like that begin and end in the same element become pairs."""
    within: list[dict[str, Atom]] = [{}]
    for atom in atoms:
        if atom.kind is AtomKind.OPEN:
            within.append({})
        elif atom.kind is AtomKind.CLOSE and len(within) > 1:
            within.pop()
        elif atom.name and atom.field == "start":
            within[-1][atom.name] = atom
        elif atom.name in within[-1]:
            within[-1].pop(atom.name).kind = AtomKind.OPEN
            atom.kind = AtomKind.CLOSE
    return atoms


class RunWriter:
    """Writes atoms and texts as runs, those side by side with one format as one."""

    def __init__(self, prefix: str, raw: Callable[[int, int], str]) -> None:
        """
        Args:
            prefix: of WordprocessingML's names, such as "w:"
            raw: gives parts of the part's XML
        """
        self._prefix, self._raw = prefix, raw

    def text(self, text: str, formats: Sequence[str]) -> str:
        """A text, with a format for each character, as `finished` takes it."""
        parts: list[str] = []
        begin = 0
        for end in range(1, len(text) + 1):
            if end == len(text) or formats[end] != formats[begin]:
                said = text[begin:end].replace(_MARK, "")
                parts.append(f"{_MARK}{formats[begin]}{_MARK}{said}{_MARK}")
                begin = end
        return "".join(parts)

    def atoms(self, atoms: Sequence[Atom]) -> str:
        """Atoms as they were, as `finished` takes them."""
        parts: list[str] = []
        text, formats = "", []
        for atom in atoms:
            if atom.kind is AtomKind.CHARACTER and not atom.pieces:
                text += atom.said
                formats.append(atom.format)
                continue
            parts.append(self.text(text, formats))
            text, formats = "", []
            for piece in atom.pieces:
                raw = self._raw(piece.begin, piece.end)
                parts.append(raw if piece.format is None else self._run(piece.format, raw))
        return "".join([*parts, self.text(text, formats)])

    def finished(self, written: str) -> str:
        """The XML of texts and atoms behind each other."""
        parts: list[str] = []
        text, format = "", ""
        fields = written.split(_MARK)
        for number in range(0, len(fields), 3):  # markup, a format, a text, markup...
            if text and (fields[number] or fields[number + 1 : number + 2] != [format]):
                parts.append(self._run(format, self._element(text)))
                text = ""
            parts.append(fields[number])
            if number + 2 < len(fields):
                format, text = fields[number + 1], text + fields[number + 2]
        return "".join(parts)

    def _run(self, properties: str, content: str) -> str:
        return f"<{self._prefix}r>{properties}{content}</{self._prefix}r>"

    def _element(self, text: str) -> str:
        space = ' xml:space="preserve"' if text != text.strip() or "  " in text else ""
        said = escape_xml(text.translate(_NO_BREAKS))
        return f"<{self._prefix}t{space}>{said}</{self._prefix}t>"
