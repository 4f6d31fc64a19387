"""The content of XLIFF's sources: text with inline elements (XLIFF 1.2, section 2.4; XLIFF 2.1,
section 4.2.3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .document import AlignedText, Split
from .html_tokens import Kind, Token, tokenize
from .inline_markup import Block, MarkedSentence
from .xml_text import add_xml_text, attributes_of, escape_xml, local_name, unescape_xml

# Elements around words. All others hold code of the original's format, and stay as they are.
_AROUND_WORDS = frozenset({"g", "mrk", "pc"})
# Elements that begin and end what another format encloses, with the attribute that they share.
_BEGINS = {"bx": "rid", "bpt": "rid", "sc": "id", "sm": "id"}
_ENDS = {"ex": "rid", "ept": "rid", "ec": "startRef", "em": "startRef"}


@dataclass(frozen=True, slots=True)
class InlineContent:
    """The content of a source.

    Attributes:
        text: with its elements, without CDATA sections
        sentences: in their order
        spaced: the target language has spaces between sentences
    """

    text: str
    sentences: Sequence[MarkedSentence]
    spaced: bool

    def assemble(self, translations: Sequence[AlignedText]) -> str:
        """The content with translations in the places of its sentences."""
        parts: list[str] = []
        position = 0
        for number, (sentence, translation) in enumerate(
            zip(self.sentences, translations, strict=True)
        ):
            if number and translation.text != sentence.text:
                between = sentence.between(position, self.spaced, self._emit)
            else:
                between = self.text[position : sentence.begin]
            parts += [between, sentence.render(translation, escape_xml, self._emit)]
            position = sentence.end
        return "".join([*parts, self.text[position:]])

    def _emit(self, begin: int, end: int) -> str:
        return self.text[begin:end]


def parse_inline(text: str, *, spaced: bool, keep_lines: bool, split: Split) -> InlineContent:
    """The sentences of a source's content.

    Args:
        spaced: the target language has spaces between sentences
        keep_lines: line breaks end sentences
        split: finds the sentences
    """
    scanner = _InlineScanner(text, lambda: Block(keep_lines=keep_lines), split)
    return InlineContent(text, scanner.sentences, spaced)


class _InlineScanner:
    """Adds texts and elements to blocks: one for each segment that is marked as such."""

    def __init__(self, text: str, new_block: Callable[[], Block], split: Split) -> None:
        self.sentences: list[MarkedSentence] = []
        self._text, self._new_block, self._split = text, new_block, split
        self._block = new_block()
        self._paired = _paired_codes(text)
        self._tokens = tokenize(text, xml=True)
        self._segments: list[bool] = []  # of the open mrk: whether it is a segment
        for token in self._tokens:
            self._add(token)
        self._end_block()

    def _add(self, token: Token) -> None:
        if token.kind is Kind.TEXT:
            add_xml_text(self._block, self._text, token.begin, token.end)
            return
        name = local_name(token.name)
        if token.kind is Kind.CLOSE:
            self._close(name, token)
            return
        tag = self._text[token.begin : token.end]
        attributes = attributes_of(tag) if token.kind is not Kind.OTHER else {}
        if name == "mrk" and token.kind is Kind.OPEN:
            self._segments.append(attributes.get("mtype") == "seg")
            if self._segments[-1]:
                self._end_block()
                return
        if token.kind is Kind.OPEN and name in _AROUND_WORDS:
            if attributes.get("translate") == "no" or attributes.get("mtype") == "protected":
                said, end = self._skip(token)
                self._block.add_kept(said, token.begin, end)
                if name == "mrk":
                    self._segments.pop()
            else:
                self._block.add_open(name, token.begin, token.end)
            return
        end = self._skip(token)[1] if token.kind is Kind.OPEN else token.end
        if token.begin not in self._paired:
            self._block.add_kept("", token.begin, end)
        elif name in _BEGINS:
            self._block.add_open(_code(name, attributes), token.begin, end)
        else:
            self._block.add_close(_code(name, attributes), token.begin, end)

    def _close(self, name: str, token: Token) -> None:
        if name == "mrk" and self._segments and self._segments.pop():
            self._end_block()
        elif name in _AROUND_WORDS:
            self._block.add_close(name, token.begin, token.end)
        else:
            self._block.add_kept("", token.begin, token.end)

    def _skip(self, tag: Token) -> tuple[str, int]:
        """The text of the element that a tag begins, and where the element ends."""
        depth, end = 1, tag.end
        texts: list[str] = []
        for token in self._tokens:
            end = token.end
            if token.kind is Kind.TEXT:
                texts.append(self._text[token.begin : token.end])
            elif token.name == tag.name:
                depth += {Kind.OPEN: 1, Kind.CLOSE: -1}.get(token.kind, 0)
                if not depth:
                    break
        return " ".join(unescape_xml("".join(texts)).split()), end

    def _end_block(self) -> None:
        self.sentences += self._block.sentences(self._split)
        self._block = self._new_block()


def is_nested(text: str) -> bool:
    """Whether each element ends within the one that it begins in."""
    names: list[str] = []
    for token in tokenize(text, xml=True):
        if token.kind is Kind.OPEN:
            names.append(token.name)
        elif token.kind is Kind.CLOSE and (not names or names.pop() != token.name):
            return False
    return not names


def _code(name: str, attributes: dict[str, str]) -> str:
    """What the beginning and the end of a code have in common."""
    key = (_BEGINS | _ENDS)[name]
    return f"code {attributes.get(key) or attributes.get('id', '')}"


def _paired_codes(text: str) -> set[int]:
    """Where the codes begin that end within the same elements: only those can move together."""
    paired: set[int] = set()
    within: list[dict[str, int]] = [{}]  # of each open element: its codes that are open
    for token in tokenize(text, xml=True):
        name = local_name(token.name)
        if name in _AROUND_WORDS and token.kind is not Kind.VOID:
            if token.kind is Kind.OPEN:
                within.append({})
            elif len(within) > 1:
                within.pop()
        elif token.kind in (Kind.OPEN, Kind.VOID) and (name in _BEGINS or name in _ENDS):
            attributes = attributes_of(text[token.begin : token.end])
            code = _code(name, attributes)
            if attributes.get("isolated") == "yes":
                continue
            if name in _BEGINS:
                within[-1][code] = token.begin
            elif code in within[-1]:
                paired |= {within[-1].pop(code), token.begin}
    return paired
