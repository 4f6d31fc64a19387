"""HTML: its sentences, with tags put back at the words that they marked, and all else as it was.

Elements of a line, such as <b> and <a>, stay with their words; all others end a sentence, so a
heading is never translated together with a paragraph. What is not text stays: scripts, styles,
code, comments, and what says translate="no" or has the class "notranslate" (HTML Living Standard,
section 3.2.6.2).
"""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tfm.runtime.scripts import is_spaced

from .document import AlignedText, Segment, Split, check_count
from .html_tokens import Kind, Token, tokenize
from .inline_markup import Block, MarkedSentence
from .plain_text import TextDocument, parse_text
from .replacements import Replacements
from .sentences import split_sentences

# Elements that end a line of text. Others, unknown ones too, stay with the words around them.
_BLOCK = re.compile(
    r"html|head|body|title|meta|link|base|p|div|h[1-6]|ul|ol|li|dl|dt|dd|menu|table|thead|tbody"
    r"|tfoot|tr|td|th|caption|colgroup|col|section|article|aside|nav|header|footer|main|hgroup"
    r"|search|form|fieldset|legend|label|button|input|select|optgroup|option|textarea|output"
    r"|figure|figcaption|blockquote|pre|hr|br|address|details|summary|dialog|iframe|video|audio"
    r"|object|noscript|script|style|template|frameset|noframes|center"
)
_NOT_SHOWN = frozenset({"script", "style", "template", "svg", "math", "iframe", "object", "pre"})
_CODE = frozenset({"code", "kbd", "samp", "tt"})
_ATTRIBUTE = re.compile(
    r"""\s(?P<name>title|alt|placeholder|aria-label|label|summary)\s*=\s*(?P<quote>["'])"""
    r"""(?P<text>.*?)(?P=quote)""",
    re.IGNORECASE | re.DOTALL,
)
_DESCRIPTION = re.compile(
    r"""\sname\s*=\s*["']?(?:description|keywords)\b.*?\scontent\s*=\s*(?P<quote>["'])"""
    r"""(?P<text>.*?)(?P=quote)""",
    re.IGNORECASE | re.DOTALL,
)
_NOT_TO_TRANSLATE = re.compile(
    r"""\s(?:translate\s*=\s*["']?no\b|class\s*=\s*["']?[^"'>]*\bnotranslate\b)""", re.IGNORECASE
)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{0,31});?")


@dataclass(frozen=True, slots=True)
class _Attribute:
    """A text in a tag: where it stands, and what it says."""

    begin: int
    end: int
    document: TextDocument


@dataclass(frozen=True, slots=True)
class HtmlDocument:
    """A page or a piece of one whose sentences were found.

    Attributes:
        text: the whole of it
        segments: its sentences and the texts in its tags
        spaced: the target language has spaces between sentences
        notes: none: browsers take any text
    """

    text: str
    segments: tuple[Segment, ...]
    spaced: bool
    _blocks: Sequence[tuple[Sequence[MarkedSentence], int]] = field(repr=False)
    _attributes: Sequence[tuple[_Attribute, int]] = field(repr=False)
    notes: tuple[str, ...] = ()

    def assemble(self, translations: Sequence[AlignedText]) -> str:
        """See `Document.assemble`."""
        check_count(self.segments, translations)
        whole = Replacements(self.text)
        for attribute, first in self._attributes:
            own = translations[first : first + len(attribute.document.segments)]
            changed = attribute.document.assemble(own)
            if changed != attribute.document.text:
                whole.add(attribute.begin, attribute.end, html.escape(changed, quote=True))
        parts: list[str] = []
        position = 0
        for sentences, first in self._blocks:
            for number, sentence in enumerate(sentences):
                translation = translations[first + number]
                if number and translation.text != sentence.text:
                    between = sentence.between(position, self.spaced, whole.emit)
                else:
                    between = whole.emit(position, sentence.begin)
                parts += [between, sentence.render(translation, _escape, whole.emit)]
                position = sentence.end
        return "".join([*parts, whole.emit(position, len(self.text))])


def parse_html(
    text: str, source: str, target: str, *, split: Split = split_sentences
) -> HtmlDocument:
    """The sentences of HTML, a whole page or a piece, well-formed or not.

    Args:
        source, target: languages, such as "zh" and "en"
        split: finds the sentences: where each begins and ends
    """
    parts = _Parts(text, source, target, split)
    segments: list[Segment] = []
    blocks, attributes = [], []
    for attribute in parts.attributes:
        attributes.append((attribute, len(segments)))
        inside = attribute.document.segments
        segments += [Segment(segment.text, attribute.begin, attribute.end) for segment in inside]
    for sentences in parts.blocks:
        blocks.append((sentences, len(segments)))
        segments += [
            Segment(sentence.text, sentence.begin, sentence.end, bool(sentence.items))
            for sentence in sentences
        ]
    return HtmlDocument(text, tuple(segments), is_spaced(target), blocks, attributes)


class _Parts:
    """Blocks of text and texts in tags, as they are found."""

    def __init__(self, text: str, source: str, target: str, split: Split) -> None:
        self.blocks: list[Sequence[MarkedSentence]] = []
        self.attributes: list[_Attribute] = []
        self._text, self._languages, self._split = text, (source, target), split
        self._block = Block()
        self._tokens = tokenize(text)
        for token in self._tokens:
            self._add(token)
        self._end_block()

    def _add(self, token: Token) -> None:
        ends_line = _BLOCK.fullmatch(token.name) is not None
        if ends_line:
            self._end_block()
        if token.kind is Kind.TEXT:
            for text, begin, end in _characters(self._text, token.begin, token.end):
                self._block.add_text(text, begin, end)
            return
        opens = token.kind is Kind.OPEN
        if opens or token.kind is Kind.VOID:
            self._add_attributes(token)
        if opens and self._is_kept(token):
            text, end = self._skip(token)
            if not ends_line:
                self._block.add_kept(text if token.name not in _NOT_SHOWN else "", token.begin, end)
        elif ends_line:
            pass
        elif opens:
            self._block.add_open(token.name, token.begin, token.end)
        elif token.kind is Kind.CLOSE:
            self._block.add_close(token.name, token.begin, token.end)
        else:
            self._block.add_kept("", token.begin, token.end)

    def _is_kept(self, tag: Token) -> bool:
        if tag.name in _NOT_SHOWN or tag.name in _CODE:
            return True
        return _NOT_TO_TRANSLATE.search(self._text, tag.begin, tag.end) is not None

    def _skip(self, tag: Token) -> tuple[str, int]:
        """The text of the element that a tag begins, and where the element ends."""
        depth, end = 1, tag.end
        texts: list[str] = []
        for token in self._tokens:
            end = token.end
            if token.kind is Kind.TEXT:
                texts += [text for text, _, _ in _characters(self._text, token.begin, token.end)]
            elif token.name == tag.name:
                depth += {Kind.OPEN: 1, Kind.CLOSE: -1}.get(token.kind, 0)
                if not depth:
                    break
        return " ".join("".join(texts).split()), end

    def _add_attributes(self, tag: Token) -> None:
        if tag.end - tag.begin > _LONGEST_TAG or self._is_kept(tag):
            return
        patterns = [_ATTRIBUTE, *([_DESCRIPTION] if tag.name == "meta" else [])]
        for pattern in patterns:
            for found in pattern.finditer(self._text, tag.begin, tag.end):
                document = parse_text(
                    html.unescape(found["text"]), *self._languages, split=self._split
                )
                if document.segments:
                    self.attributes.append(_Attribute(*found.span("text"), document))

    def _end_block(self) -> None:
        sentences = self._block.sentences(self._split)
        if sentences:
            self.blocks.append(sentences)
        self._block = Block()


_LONGEST_TAG = 20_000  # longer ones hold pictures, not text


def _characters(text: str, begin: int, end: int) -> Iterator[tuple[str, int, int]]:
    """What a text says, piece by piece, each with its place: entities are pieces of their own."""
    for entity in _ENTITY.finditer(text, begin, end):
        if begin < entity.start():
            yield text[begin : entity.start()], begin, entity.start()
        said = html.unescape(entity.group())
        if len(said) <= 2:
            yield said, *entity.span()
        else:  # no entity, or one without its semicolon and text after it
            yield entity.group(), *entity.span()
        begin = entity.end()
    if begin < end:
        yield text[begin:end], begin, end


def _escape(text: str) -> str:
    return html.escape(text, quote=False)
