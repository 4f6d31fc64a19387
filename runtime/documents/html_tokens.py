"""HTML or XML as a sequence of tags and texts with their places, in time that is proportional.

What browsers accept is accepted (HTML Living Standard, section 13.2.5, in outline): a `<` that
begins no tag is text, `>` in quotes does not end a tag, and an element of raw text, such as a
script, ends at its end tag only.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

VOID_ELEMENTS = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source"}
    | {"track", "wbr"}
)
RAW_TEXT_ELEMENTS = frozenset({"script", "style", "textarea", "title", "xmp", "iframe", "noembed"})

_MARKUP = re.compile(r"<(?=[a-zA-Z/!?])")
_TAG = re.compile(r"""</?([a-zA-Z][^\s/>]*+)(?:=\s*"[^"]*"|=\s*'[^']*'|[^>])*+>""")
_SIMPLE_TAG = re.compile(r"</?([a-zA-Z][^\s/<>]*+)[^<>]*+>")


class Kind(Enum):
    """What a token is."""

    TEXT = "text"
    OPEN = "open"
    CLOSE = "close"
    VOID = "void"  # a tag of an element without content
    OTHER = "other"  # a comment, a declaration, an instruction


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of HTML at [begin, end).

    Attributes:
        name: of a tag's element, in HTML in small letters
    """

    kind: Kind
    begin: int
    end: int
    name: str = ""


def tokenize(html: str, *, xml: bool = False) -> Iterator[Token]:
    """Yield all of a text, piece by piece.

    Args:
        xml: names are as they are written, and no element is void or of raw text by its name
    """
    position = 0
    scanner = _Scanner(html, xml)
    while position < len(html):
        token = scanner.markup(position) if html[position] == "<" else None
        if token is None:
            found = _MARKUP.search(html, position + 1)
            token = Token(Kind.TEXT, position, found.start() if found else len(html))
        yield token
        position = token.end
        if token.kind is Kind.OPEN and not xml and token.name in RAW_TEXT_ELEMENTS:
            end = scanner.end_tag(token.name, position)
            if end > position:
                yield Token(Kind.TEXT, position, end)
            position = end


class _Scanner:
    """Finds markup, and remembers what there is no more of: nothing is searched for twice."""

    def __init__(self, html: str, xml: bool) -> None:
        self._html, self._xml = html, xml
        self._tag = _TAG
        self._absent: set[str] = set()

    def markup(self, begin: int) -> Token | None:
        """The token that begins with the `<` there; None if it is text."""
        html = self._html
        if html.startswith("<!--", begin):
            return self._up_to("-->", begin, begin + 4)
        if html.startswith("<![CDATA[", begin):
            return self._up_to("]]>", begin, begin + 9)
        if html.startswith(("<!", "<?"), begin):
            return self._up_to(">", begin, begin + 2)
        match = self._tag.match(html, begin)
        if match is None and self._tag is _TAG and html[begin + 1 : begin + 2].isalpha():
            self._tag = _SIMPLE_TAG  # a quote is open up to the end: they mean nothing here
            match = self._tag.match(html, begin)
        if match is None:
            return None
        name = match.group(1) if self._xml else match.group(1).lower()
        void = not self._xml and name in VOID_ELEMENTS
        kind = Kind.OPEN
        if html.startswith("</", begin):
            kind = Kind.CLOSE
        elif void or html.endswith("/>", begin, match.end()):
            kind = Kind.VOID
        return Token(kind, begin, match.end(), name)

    def end_tag(self, name: str, position: int) -> int:
        """Where the element's end tag begins, or the end of everything."""
        if name not in self._absent:
            found = re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE).search(self._html, position)
            if found:
                return found.start()
            self._absent.add(name)
        return len(self._html)

    def _up_to(self, ending: str, begin: int, position: int) -> Token | None:
        if ending not in self._absent:
            end = self._html.find(ending, position)
            if end >= 0:
                return Token(Kind.OTHER, begin, end + len(ending))
            self._absent.add(ending)
        return None
