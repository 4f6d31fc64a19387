"""XLIFF 1.2, 2.0 and 2.1: sources without a target get one, and all else stays.

What is approved or final, and what says translate="no", is left. A translation equal to its source
is not written. Version 1.2 gets state="needs-review-translation" and
state-qualifier="mt-suggestion" (section 2.3), version 2 gets state="translated" (2.1, section
4.7.2.1).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tfm.runtime.scripts import is_spaced

from .document import AlignedText, Segment, Split, check_count
from .embedded import Edit, edited
from .html_tokens import Kind, Token, tokenize
from .line_numbers import LineNumbers
from .message_placeholders import placeholders_of, what_is_lost
from .sentences import split_sentences
from .xliff_inline import InlineContent, is_nested, parse_inline
from .xml_text import attributes_of, local_name, with_attribute, without_cdata

_UNITS = frozenset({"trans-unit", "segment"})
_PARTS = frozenset({"source", "seg-source", "target"})
_NOT_TRANSLATED = frozenset({"new", "initial", "needs-translation"})
_INLINE = frozenset({"g", "x", "ph", "pc", "bpt", "ept"})
_DEEPEST = 100  # elements that a wrong end tag is compared with


@dataclass(slots=True)
class _XliffElement:
    """An element that is open.

    Attributes:
        name: without its prefix
        tag: the token that begins it
        translate: False where it or one around it says translate="no"
        preserve: white space in it means something
    """

    name: str
    tag: Token
    attributes: dict[str, str]
    translate: bool
    preserve: bool


@dataclass(frozen=True, slots=True)
class _XliffPart:
    """A source or target: its tag, and its content at [begin, end); `stop` is where it ends."""

    tag: Token
    begin: int
    end: int
    stop: int


@dataclass(slots=True)
class _XliffUnit:
    """A trans-unit of version 1.2 or a segment of version 2.

    Attributes:
        element: the trans-unit or segment
        parts: source, seg-source, target
        content: what is translated
        root: the place in the list of the tags that name the languages
    """

    element: _XliffElement
    parts: dict[str, _XliffPart] = field(default_factory=dict)
    content: InlineContent | None = None
    root: Token | None = None


@dataclass(slots=True)
class XliffDocument:
    """A file whose untranslated sources were found.

    Attributes:
        text: the whole of it
        target: the language
        segments: the sentences
        problems: those that were found in parsing
    """

    text: str
    target: str
    segments: Sequence[Segment]
    problems: Sequence[str]
    _units: Sequence[_XliffUnit] = field(repr=False)
    _lost: list[str] = field(init=False, default_factory=list)

    @property
    def notes(self) -> Sequence[str]:
        """What was wrong with the text and, after assemble(), with its translations."""
        return [*self.problems, *self._lost]

    def assemble(self, translations: Sequence[AlignedText]) -> str:
        """See `Document.assemble`."""
        check_count(self.segments, translations)
        self._lost.clear()
        lines = LineNumbers(self.text)
        edits: list[Edit] = []
        roots: set[int] = set()
        position = 0
        for unit in self._units:
            assert unit.content is not None
            count = len(unit.content.sentences)
            own = translations[position : position + count]
            texts = self.segments[position : position + count]
            position += count
            if all(said.text == read.text for said, read in zip(own, texts, strict=True)):
                continue
            lost = [
                what_is_lost(read.text, said.text) for read, said in zip(texts, own, strict=True)
            ]
            content = unit.content.assemble(own)
            problem = next(filter(None, lost), "")
            if not problem and not is_nested(content):
                problem = "has elements that are not nested"
            if problem:
                line = lines.at(unit.element.tag.begin)
                self._lost.append(f"line {line}: the translation {problem}: left untranslated")
                continue
            edits += self._edits(unit, content)
            if unit.root is not None and unit.root.begin not in roots:
                roots.add(unit.root.begin)
                edits += self._language(unit.root)
        return edited(self.text, edits)

    def _edits(self, unit: _XliffUnit, content: str) -> Iterator[Edit]:
        """The target, and the unit's state."""
        text = self.text
        source = unit.parts["source"]
        after = unit.parts.get("seg-source", source)
        target = unit.parts.get("target")
        source_tag = text[source.tag.begin : source.tag.end]
        name = source.tag.name.removesuffix("source") + "target"
        is_version_1 = unit.element.name == "trans-unit"
        if target is None:
            tag = f"<{name}>"
            if "xml:lang" in attributes_of(source_tag):
                tag = with_attribute(tag, "xml:lang", self.target)
            if "xml:space" in attributes_of(source_tag):
                tag = with_attribute(tag, "xml:space", attributes_of(source_tag)["xml:space"])
        else:
            tag = text[target.tag.begin : target.tag.end]
            tag = re.sub(r"\s*/>\Z", ">", tag)
        if is_version_1:
            tag = with_attribute(tag, "state", "needs-review-translation")
            tag = with_attribute(tag, "state-qualifier", "mt-suggestion")
        written = f"{tag}{content}</{name}>"
        if target is None:
            yield after.stop, after.stop, _space_before(text, source.tag.begin) + written
        else:
            yield target.tag.begin, target.stop, written
        if not is_version_1:
            begin, end = unit.element.tag.begin, unit.element.tag.end
            yield begin, end, with_attribute(text[begin:end], "state", "translated")

    def _language(self, root: Token) -> Iterator[Edit]:
        """Names the target language where no language is named."""
        tag = self.text[root.begin : root.end]
        name = "target-language" if local_name(root.name) == "file" else "trgLang"
        if name not in attributes_of(tag):
            yield root.begin, root.end, with_attribute(tag, name, self.target)


def parse_xliff(
    text: str, source: str, target: str, *, split: Split = split_sentences
) -> XliffDocument:
    """The sentences of the sources that have no target.

    Args:
        source, target: languages, such as "en" and "zh"
        split: finds the sentences of a source

    Segments carry their placeholders (message_placeholders.py). A unit whose translation lacks one,
    or has others, is left, and noted.
    """
    scanner = _XliffScanner(text, target, split)
    scanner.scan()
    segments: list[Segment] = []
    for unit in scanner.units:
        assert unit.content is not None
        part = unit.parts.get("seg-source", unit.parts["source"])
        exact = len(unit.content.text) == part.end - part.begin
        segments += [
            Segment(
                sentence.text,
                part.begin + sentence.begin if exact else part.begin,
                part.begin + sentence.end if exact else part.end,
                bool(sentence.items),
                placeholders_of(sentence.text),
            )
            for sentence in unit.content.sentences
        ]
    return XliffDocument(text, target, segments, scanner.notes, scanner.units)


class _XliffScanner:
    """Finds units, and what there is to translate in them."""

    def __init__(self, text: str, target: str, split: Split) -> None:
        self.units: list[_XliffUnit] = []
        self.notes: list[str] = []
        self._text, self._target, self._split = text, target, split
        self._lines = LineNumbers(text)
        self._open: list[_XliffElement] = []
        self._unit: _XliffUnit | None = None
        self._root: Token | None = None

    def scan(self) -> None:
        """Go through the whole file."""
        for token in tokenize(self._text, xml=True):
            if token.kind is Kind.OPEN:
                self._begin(token)
            elif token.kind is Kind.VOID:
                self._begin(token)
                self._end(token, token.end)
            elif token.kind is Kind.CLOSE:
                self._end(token, token.begin)
        if self._open:
            last = self._open[-1].tag
            self._note(last, f"<{last.name}> does not end")

    def _begin(self, token: Token) -> None:
        name = local_name(token.name)
        attributes: dict[str, str] = {}
        if name not in _INLINE:
            attributes = attributes_of(self._text[token.begin : token.end])
        above = self._open[-1] if self._open else None
        translate = above.translate if above else True
        preserve = above.preserve if above else False
        if "translate" in attributes:
            translate = attributes["translate"] != "no"
        if "xml:space" in attributes:
            preserve = attributes["xml:space"] == "preserve"
        if name == "file" and "source-language" in attributes:
            self._root = token
        if name == "xliff" and "srcLang" in attributes:
            self._root = token
        for key in ("target-language", "trgLang"):
            if key in attributes and not _is_same_language(attributes[key], self._target):
                self._note(
                    token, f"the file is for {attributes[key]!r}, and not for {self._target!r}"
                )
        element = _XliffElement(name, token, attributes, translate, preserve)
        self._open.append(element)
        if name in _UNITS:
            self._unit = _XliffUnit(element, root=self._root)

    def _end(self, token: Token, content_end: int) -> None:
        if not self._open or self._open[-1].tag.name != token.name:
            self._note(token, f"</{token.name}> ends nothing that is open")
            names = [element.tag.name for element in self._open[-_DEEPEST:]]
            if token.name not in names:
                return
            while self._open[-1].tag.name != token.name:
                self._drop(self._open.pop())
        element = self._open.pop()
        if element.name in _UNITS:
            if self._unit is not None:
                self._add(self._unit)
            self._unit = None
        elif element.name in _PARTS and self._unit is not None and self._open:
            unit, begin = self._unit, element.tag.end
            if self._open[-1] is unit.element:
                content_end = max(begin, content_end)
                part = _XliffPart(element.tag, begin, content_end, token.end)
                unit.parts[element.name] = part
                unit.element.preserve |= element.preserve and element.name != "target"

    def _drop(self, element: _XliffElement) -> None:
        if self._unit is not None and element is self._unit.element:
            self._unit = None

    def _add(self, unit: _XliffUnit) -> None:
        if "source" not in unit.parts or not self._is_wanted(unit):
            return
        part = unit.parts.get("seg-source", unit.parts["source"])
        content = without_cdata(self._text[part.begin : part.end])
        if not is_nested(content):
            self._note(part.tag, f"the elements in <{part.tag.name}> are not nested: it is left")
            return
        unit.content = parse_inline(
            content,
            spaced=is_spaced(self._target),
            keep_lines=unit.element.preserve,
            split=self._split,
        )
        if unit.content.sentences:
            self.units.append(unit)

    def _is_wanted(self, unit: _XliffUnit) -> bool:
        """Whether a unit is to be translated, and is not yet."""
        attributes = unit.element.attributes
        if not unit.element.translate or attributes.get("approved") == "yes":
            return False
        target = unit.parts.get("target")
        state = attributes.get("state", "initial")
        if target is not None and unit.element.name == "trans-unit":
            tag = self._text[target.tag.begin : target.tag.end]
            state = attributes_of(tag).get("state", "")
        if state in ("final", "signed-off"):
            return False
        if target is None:
            return True
        said = self._text[target.begin : target.end]
        source = unit.parts["source"]
        is_copy = said == self._text[source.begin : source.end]
        return not said.strip() or (is_copy and state in _NOT_TRANSLATED)

    def _note(self, token: Token, problem: str) -> None:
        line = f"line {self._lines.at(token.begin)}: "
        if not (self.notes and self.notes[-1].startswith(line)):  # the first says enough
            self.notes.append(line + problem)


def _is_same_language(first: str, second: str) -> bool:
    return re.split("[-_]", first.lower())[0] == re.split("[-_]", second.lower())[0]


def _space_before(text: str, begin: int) -> str:
    """The line break and the indentation before a place."""
    start = begin
    while start and text[start - 1] in " \t\r\n":
        start -= 1
    return text[start:begin]
