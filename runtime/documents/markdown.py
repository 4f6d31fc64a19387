"""Markdown (CommonMark with tables and strikethrough): headings, paragraphs, items and cells are
translated, with emphasis, links and code at their words; all else stays as it was.

markdown-it-py says what is what; this module finds where it stands. Code, addresses, formulas,
link definitions, front matter and HTML's tags stay. A link whose text is its own label, as
[here][], stays with its text, since another text would be another label.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tfm.runtime.scripts import is_spaced

from .document import AlignedText, Document, Segment, Split, check_count
from .html_text import parse_html
from .inline_markup import Block, MarkedSentence
from .markdown_escapes import escape, escape_block, would_be_markup
from .plain_text import parse_text
from .replacements import Replacements
from .sentences import split_sentences

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token as MarkdownToken

_FRONT_MATTER = re.compile(r"\A(---|\+\+\+)[ \t]*\r?\n.*?\n\1[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_LINE_END = re.compile(r"\r\n|\r|\n")
# Formulas, addresses, anchors of headings, and what template engines fill in.
_KEPT = re.compile(
    r"\$\$[^$]+\$\$|\$[^$\s](?:[^$\n]*[^$\s])?\$|(?:https?|ftp|mailto):[^\s<>()\u3000-\u303f"
    r"\u4e00-\u9fff\uff00-\uffef]+|\{\{.*?\}\}|\{%.*?%\}|\{[#.][^{}\n]*\}|\[\^[^\]\s]+\]"
)
_TASK = re.compile(r"\[[ xX]\][ \t]+")  # of a list item: to do, or done
_EMPHASIS = frozenset({"strong", "em", "s"})
# Before delimiters until their neighbours are known; of the private use area.
_OPENING, _CLOSING, _LINK = "\uf8f0", "\uf8f1", "\uf8f2"
_MARKS = f"{_OPENING}{_CLOSING}"
_LABEL = re.compile(r"\[(?:[^\[\]\\]|\\.)*\]", re.DOTALL)
_HTML_TAG = re.compile(r"<(/?)([a-zA-Z][\w-]*)")


@dataclass(frozen=True, slots=True)
class MarkdownDocument:
    """Markdown whose sentences were found.

    Attributes:
        text: the whole of it
        segments: its sentences
        notes: what could not be found again, with its line
        spaced: the target language has spaces between sentences
    """

    text: str
    segments: tuple[Segment, ...]
    notes: tuple[str, ...]
    spaced: bool
    _blocks: Sequence[tuple[Sequence[MarkedSentence], int]] = field(repr=False)
    _inner: Sequence["_Inner"] = field(repr=False)

    def assemble(self, translations: Sequence[AlignedText]) -> str:
        """See `Document.assemble`."""
        check_count(self.segments, translations)
        whole = Replacements(self.text)
        for inner in self._inner:
            own = translations[inner.first : inner.first + len(inner.document.segments)]
            if any(a.text != b.text for a, b in zip(inner.document.segments, own, strict=True)):
                whole.add(inner.begin, inner.end, inner.document.assemble(own))
        parts: list[str] = []
        position = 0
        for sentences, first in self._blocks:
            for number, sentence in enumerate(sentences):
                translation = translations[first + number]
                between = whole.emit(position, sentence.begin)
                if translation.text != sentence.text and number:
                    between = sentence.between(position, self.spaced, whole.emit)
                rendered = _render(sentence, translation, whole)
                if translation.text != sentence.text:
                    if not number or "\n" in between or "\r" in between:
                        original = whole.emit(sentence.begin, sentence.end)
                        rendered = escape_block(rendered, original)
                    if between.endswith(("]", "!")) and rendered.startswith("["):
                        between += " "  # or both would be one link, or an image
                parts += [between, rendered]
                position = sentence.end
        return "".join([*parts, whole.emit(position, len(self.text))])


@dataclass(frozen=True, slots=True)
class _Inner:
    """A document in this one: the text of a picture, or HTML; its first segment's number."""

    begin: int
    end: int
    document: Document
    first: int


def parse_markdown(
    text: str, source: str, target: str, *, split: Split = split_sentences
) -> MarkdownDocument:
    """The sentences of Markdown.

    Args:
        source, target: languages, such as "zh" and "en"
        split: finds the sentences: where each begins and ends

    Raises:
        ModuleNotFoundError: markdown-it-py is not installed
    """
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    reader.disable("text_join")  # escapes and entities stay tokens of their own
    front = _FRONT_MATTER.match(text)
    begin = front.end() if front else 0
    found = _Finder(text, begin, (source, target), split, reader)
    for token in reader.parse(text[begin:]):
        found.add(token)
    segments: list[Segment] = []
    blocks, inner = [], []
    for sentences in found.blocks:
        blocks.append((sentences, len(segments)))
        segments += [
            Segment(sentence.text, sentence.begin, sentence.end, bool(sentence.items))
            for sentence in sentences
        ]
    for first, last, document in sorted(found.inner, key=lambda entry: entry[:2]):
        inner.append(_Inner(first, last, document, len(segments)))
        segments += [
            Segment(part.text, part.begin + first, part.end + first, part.marks)
            for part in document.segments
        ]
    return MarkdownDocument(
        text, tuple(segments), tuple(found.notes), is_spaced(target), blocks, inner
    )


class _Finder:
    """Finds where in the file what the reader reports stands."""

    def __init__(
        self,
        text: str,
        begin: int,
        languages: tuple[str, str],
        split: Split,
        reader: "MarkdownIt",
    ) -> None:
        self.blocks: list[Sequence[MarkedSentence]] = []
        self.inner: list[tuple[int, int, Document]] = []
        self.notes: list[str] = []
        self._text, self._languages, self._split, self._reader = text, languages, split, reader
        ends = [match.end() for match in _LINE_END.finditer(text, begin)]
        self._lines = [begin, *ends, len(text)]
        self._cursor = begin
        self._before = ("", "")  # types of the two tokens before

    def add(self, token: "MarkdownToken") -> None:
        """Take what is text in a token of the reader."""
        begins_item = self._before == ("list_item_open", "paragraph_open")
        self._before = (self._before[1], token.type)
        if token.map is None:
            return
        begin = max(self._lines[token.map[0]], self._cursor)
        end = self._lines[min(token.map[1], len(self._lines) - 1)]
        if token.type == "html_block":
            document = parse_html(self._text[begin:end], *self._languages, split=self._split)
            if document.segments:
                self.inner.append((begin, end, document))
        elif token.type == "inline" and token.content.strip():
            places = self._places(token.content, begin, end)
            if places is None:
                line = self._text.count("\n", 0, begin) + 1
                self.notes.append(f"line {line}: not understood, left as it is")
                return
            self._cursor = places[-1]
            task = _TASK.match(token.content) if begins_item else None
            inline = _Inline(token.content, places, self, begin=task.end() if task else 0)
            inline.walk(token.children or [])
            lines = (block.sentences(self._split) for block in inline.blocks)
            self.blocks += [sentences for sentences in lines if sentences]

    def _places(self, content: str, begin: int, end: int) -> list[int] | None:
        """Where each character of a token's content stands; and where it ends."""
        places: list[int] = []
        for number, line in enumerate(content.split("\n")):
            if number:
                places.append(max(begin - 1, 0))  # the line break
            stripped = line.strip()
            at = self._text.find(stripped, begin, end)
            if at < 0:  # the cell of a table, where \\| stands for |
                stripped = stripped.replace("|", "\\|")
                at = self._text.find(stripped, begin, end)
            if at < 0:
                return None
            left = len(line) - len(line.lstrip())
            places += [max(at - left + extra, 0) for extra in range(left)]
            position = at
            for char in line.strip():
                places.append(position)
                position += 2 if char == "|" and self._text[position] == "\\" else 1
            places += [position] * (len(line) - left - len(line.strip()))
            following = _LINE_END.search(self._text, position, end)
            begin = following.end() if following and "\n" in content else position
        return [*places, position]

    def add_picture(self, begin: int, end: int) -> None:
        """Take the text of a picture."""
        document = parse_text(self._text[begin:end], *self._languages, split=self._split)
        if document.segments and not would_be_markup(self._text[begin:end]):
            self.inner.append((begin, end, document))

    def link_end(self, content: str, position: int) -> tuple[int, bool]:
        """Where a link ends that has its `]` there, and whether its text is its label."""
        helpers: Any = self._reader.helpers
        after = position + 1
        if content[after : after + 1] == "(":
            at = _skip_spaces(content, after + 1)
            destination = helpers.parseLinkDestination(content, at, len(content))
            at = _skip_spaces(content, destination.pos if destination.ok else at)
            if content[at : at + 1] != ")":
                title = helpers.parseLinkTitle(content, at, len(content))
                at = _skip_spaces(content, title.pos if title.ok else at)
            if content[at : at + 1] == ")":
                return at + 1, False
        label = _LABEL.match(content, after)
        if label is not None:
            return label.end(), label.group() == "[]"
        return after, True


class _Inline:
    """A walk through the tokens of one paragraph, heading, item or cell."""

    def __init__(
        self,
        content: str,
        places: Sequence[int],
        finder: _Finder,
        at: int = 0,
        *,
        begin: int = 0,
        trial: bool = False,
    ) -> None:
        """
        Args:
            at: where in the content the walk begins
            begin: what is before is no text
            trial: it only finds out where the walk ends
        """
        self.blocks = [Block()]  # one for each line that is broken on purpose
        self._content, self._places, self._finder = content, places, finder
        self._at, self._begin, self._trial = at, begin, trial

    def walk(self, tokens: Sequence["MarkdownToken"]) -> None:
        """Add the tokens to the blocks."""
        position = 0
        while position < len(tokens):
            token = tokens[position]
            position += 1
            if token.type == "link_open" and token.info != "auto":
                inside = list(_up_to_close(tokens[position:]))
                position += len(inside) + 1
                self._link(inside)
            elif token.type == "link_open":  # <https://...>
                position += 2
                self._keep(self._content.index(">", self._at) + 1)
            else:
                self._token(token)

    def _token(self, token: "MarkdownToken") -> None:
        content, at, block = self._content, self._at, self.blocks[-1]
        kind, _, side = token.type.rpartition("_")
        if token.type == "text":
            self._plain(at + len(token.content))
        elif token.type == "text_special":
            self._at += len(token.markup)
            block.add_text(token.content, self._places[at], self._places[self._at])
        elif token.type in ("softbreak", "hardbreak"):
            self._at = _skip_spaces(content, content.index("\n", at) + 1)
            if token.type == "hardbreak":
                self.blocks.append(Block())
            else:
                block.add_text("\n", self._places[at], self._places[self._at])
        elif token.type == "code_inline":
            closing = re.compile(rf"(?<!`){token.markup}(?!`)")
            found = closing.search(content, at + len(token.markup))
            self._keep(found.end() if found else at, token.content)
        elif token.type == "image":
            label = at + 2 + len(token.content)
            end, is_label = self._finder.link_end(content, label)
            if not is_label and not self._trial:
                self._finder.add_picture(self._places[at + 2], self._places[label])
            self._keep(end)
        elif token.type == "html_inline":
            self._html(token.content)
        elif side in ("open", "close"):
            self._at += len(token.markup)
            add = block.add_open if side == "open" else block.add_close
            add(kind, self._places[at], self._places[self._at])

    def _plain(self, end: int) -> None:
        for kept in _KEPT.finditer(self._content, self._at, end):
            self._text_up_to(kept.start())
            self._keep(kept.end(), kept.group())
        self._text_up_to(end)

    def _text_up_to(self, end: int) -> None:
        for at in range(max(self._at, self._begin), end):  # one by one: \\| is not where it seems
            self.blocks[-1].add_text(self._content[at], self._places[at], self._places[at] + 1)
        self._at = end

    def _keep(self, end: int, said: str = "") -> None:
        self.blocks[-1].add_kept(said, self._places[self._at], self._places[end])
        self._at = end

    def _html(self, tag: str) -> None:
        end = self._at + len(tag)
        name = _HTML_TAG.match(tag)
        if name is None or tag.endswith("/>"):
            self._keep(end)
            return
        block = self.blocks[-1]
        add = block.add_close if name[1] else block.add_open
        add(name[2].lower(), self._places[self._at], self._places[end])
        self._at = end

    def _link(self, inside: Sequence["MarkdownToken"]) -> None:
        start = self._at
        trial = _Inline(self._content, self._places, self._finder, start + 1, trial=True)
        trial.walk(inside)
        end, is_label = self._finder.link_end(self._content, trial._at)
        if is_label:
            said = "".join(token.content for token in inside)
            self._keep(end, said)
            return
        self.blocks[-1].add_open("link", self._places[start], self._places[start + 1])
        self._at = start + 1
        self.walk(inside)
        self.blocks[-1].add_close("link", self._places[self._at], self._places[end])
        self._at = end


def _render(sentence: MarkedSentence, translation: AlignedText, whole: Replacements) -> str:
    """The translation of a sentence, in which delimiters are still those of emphasis."""
    if translation.text == sentence.text:
        return whole.emit(sentence.begin, sentence.end)
    emphasis = [item for item in sentence.items if item.partner and item.name in _EMPHASIS]
    sides = {item.begin: _OPENING if item.opens else _CLOSING for item in emphasis}

    def emit(begin: int, end: int) -> str:
        raw = whole.emit(begin, end)
        return f"{sides.get(begin, '')}{_LINK if raw.startswith('[') else ''}{raw}"

    text = sentence.render(translation, escape, emit)
    # "Look!" before a link would make an image of it, and two labels side by side one link.
    text = text.replace(f"!{_LINK}", "\\!").replace(f"]{_LINK}", "] ").replace(_LINK, "")
    return _flanked(text) if sides else text


def _flanked(text: str) -> str:
    """Put spaces where a delimiter would not be one, as between a full stop and an ideograph
    (CommonMark 0.31, "left-flanking delimiter run")."""
    text = re.sub(rf"{_OPENING}([*_~]+){_CLOSING}\1", "", text)  # around nothing they are text
    parts: list[str] = []
    position = 0
    for mark in re.finditer(f"([{_OPENING}{_CLOSING}])([*_~]+)", text):
        parts.append(text[position : mark.start()])
        position = mark.end()
        before, after = text[: mark.start()].rstrip(_MARKS)[-1:], text[position:].lstrip(_MARKS)[:1]
        outside, inside = (before, after) if mark[1] == _OPENING else (after, before)
        # "_" is no delimiter within a word at all, and ideographs side by side are one to Markdown.
        needs_space = outside.isalnum() and (_is_punctuation(inside) or "_" in mark[2])
        opens = mark[1] == _OPENING
        parts += [" " * (needs_space and opens), mark[2], " " * (needs_space and not opens)]
    return "".join([*parts, text[position:]])


def _is_punctuation(char: str) -> bool:
    return bool(char) and unicodedata.category(char)[0] in "PS"


def _up_to_close(tokens: Sequence["MarkdownToken"]) -> Iterator["MarkdownToken"]:
    """What is in a link; links are never in links."""
    for token in tokens:
        if token.type == "link_close" and token.info != "auto":
            return
        yield token


def _skip_spaces(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position
