"""Markup within sentences: taken out for the translator, put back at the words that the marked
words became.

A parser adds what it finds to a `Block`, such as a paragraph: text, tags that open and close, and
what stands between words, such as pictures. The words that belong together are known from the
translation's alignment (Garg et al. 2019; runtime/alignment.py). Elements that are nested in the
source are nested in the translation, whatever the alignment says, and none is lost.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tfm.runtime.scripts import is_unspaced_letter

from .document import AlignedText, Split
from .markup_placement import Emit, Item, Places, Span, Tree, render

_DEEPEST = 100  # elements in elements; tags that go deeper stand alone
_LONGEST_KEPT = 80  # characters


class Block:
    """Text that belongs together, such as a paragraph, with its markup taken out. Several spaces
    or line breaks count as one space, and as none between ideographs where a line ends; where lines
    are kept, a line break or a tab stays, and ends a sentence."""

    def __init__(self, *, keep_lines: bool = False) -> None:
        self._lines = re.compile(r"[^\n\t]+" if keep_lines else r"(?s:.+)")
        self._breaks = "\n\t" if keep_lines else ""
        self._chars: list[str] = []
        self._places: list[Span] = []  # of each character in the whole text
        self._items: list[Item] = []
        self._open: list[Item] = []
        self._line_ended = False  # since the last letter

    def add_text(self, text: str, begin: int, end: int) -> None:
        """Add text that stands at [begin, end); where it is shorter there, such as an entity, all
        its characters have that place."""
        exact = len(text) == end - begin
        for number, char in enumerate(text):
            place = (begin + number, begin + number + 1) if exact else (begin, end)
            if char.isspace() and char != "\xa0" and char not in self._breaks:
                self._line_ended |= char == "\n"
                if self._chars[-1:] == [" "]:
                    continue
                char = " "
            elif self._line_ended:
                self._line_ended = False
                if is_unspaced_letter(char) and self._ends_unspaced():
                    del self._chars[-1], self._places[-1]  # a broken line, no space
                    for item in reversed(self._items):
                        if item.to <= len(self._chars):
                            break
                        item.at, item.to = min(item.at, len(self._chars)), len(self._chars)
            self._chars.append(char)
            self._places.append(place)

    def _ends_unspaced(self) -> bool:
        before = self._chars[-2:]
        return len(before) == 2 and before[1] == " " and is_unspaced_letter(before[0])

    def add_open(self, name: str, begin: int, end: int) -> None:
        """Add the tag that begins an element."""
        item = self._add_item(begin, end, name)
        if len(self._open) < _DEEPEST:
            item.opens = True
            self._open.append(item)

    def add_close(self, name: str, begin: int, end: int) -> None:
        """Add the tag that ends the last open element of that name; without one it stands alone,
        as do those that were opened within it and not closed."""
        closing = self._add_item(begin, end, name)
        for number in reversed(range(len(self._open))):
            if self._open[number].name == name:
                closing.partner, self._open[number].partner = self._open[number], closing
                del self._open[number:]
                return

    def add_kept(self, text: str, begin: int, end: int) -> None:
        """Add what is not to be translated, such as code or a picture, with what it says. What says
        more than a sentence can hold is not shown to the translator."""
        item = self._add_item(begin, end)
        if len(text) <= _LONGEST_KEPT:
            self._chars += text
            self._places += [(begin, end)] * len(text)
            item.to = len(self._chars)

    def _add_item(self, begin: int, end: int, name: str | None = None) -> Item:
        at = len(self._chars)
        item = Item(at, begin, end, at, name)
        self._items.append(item)
        return item

    def sentences(self, split: Split) -> list["MarkedSentence"]:
        """The sentences, each with the markup that is its own. One without a letter outside of what
        is kept is none."""
        shown, hidden = list(self._chars), list(self._chars)
        kept = [item for item in self._items if item.at < item.to]
        for item in kept:
            # Letters without boundaries between them, and no letters.
            shown[item.at : item.to] = "x" * (item.to - item.at)
            hidden[item.at : item.to] = "-" * (item.to - item.at)
        spans: list[Span] = []
        for begin, end in self._split("".join(shown), split):
            for item in _overlapping(kept, begin, end):
                begin, end = min(begin, item.at), max(end, item.to)
            if spans and begin < spans[-1][1]:  # a long sentence was cut within what is kept
                begin = spans.pop()[0]
            spans.append((begin, end))
        sentences: list[MarkedSentence] = []
        for begin, end in spans:
            if any(map(str.isalpha, hidden[begin:end])):
                sentences.append(self._sentence(begin, end, sentences[-1] if sentences else None))
        return sentences

    def _split(self, text: str, split: Split) -> list[Span]:
        return [
            (line.start() + begin, line.start() + end)
            for line in self._lines.finditer(text)
            for begin, end in split(line.group())
        ]

    def _sentence(
        self, begin: int, end: int, previous: "MarkedSentence | None"
    ) -> "MarkedSentence":
        items = self._items
        low = bisect_left(items, begin, key=lambda item: item.at)
        high = bisect_right(items, end, key=lambda item: item.at)
        # What opens right before the sentence and what closes right after it is its own if its
        # partner is within: <b>one</b> two, one <b>two</b>.
        while low < high and not _is_within(items[low], begin, end):
            low += 1
        while low < high and not _is_within(items[high - 1], begin, end):
            high -= 1
        own = tuple(items[low:high])
        first, last = self._places[begin][0], self._places[end - 1][1]
        if own:
            first, last = min(first, own[0].begin), max(last, own[-1].end)
        text = "".join(self._chars[begin:end])
        space_at = None
        if previous is not None:
            space_at = self._space_at(previous, begin, first)
        return MarkedSentence(text, begin, first, last, own, space_at)

    def _space_at(self, previous: "MarkedSentence", begin: int, first: int) -> int | None:
        """Where between two sentences a space belongs, after what closes; None if there is one.

        Args:
            begin: of the second sentence in the block's text
            first: of the second sentence in the whole text
        """
        end = previous.offset + len(previous.text)
        if any(map(str.isspace, self._chars[end:begin])):
            return None
        number = bisect_left(self._items, first, key=lambda item: item.begin) - 1
        while number >= 0 and self._items[number].begin >= previous.end:
            item = self._items[number]
            if item.partner is not None and not item.opens:
                return item.end
            number -= 1
        return previous.end


def _overlapping(kept: Sequence[Item], begin: int, end: int) -> Sequence[Item]:
    low = bisect_right(kept, begin, key=lambda item: item.to)
    return kept[low : bisect_left(kept, end, key=lambda item: item.at)]


def _is_within(item: Item, begin: int, end: int) -> bool:
    """Whether an item belongs to the sentence [begin, end) of its block."""
    if begin < item.at < end:
        return True
    if item.to > item.at:
        return item.at == begin
    if item.partner is None or not begin < item.partner.at < end:
        return False
    return item.at == (begin if item.opens else end)


@dataclass(frozen=True, slots=True)
class MarkedSentence:
    """A sentence of a block.

    Attributes:
        text: without markup
        offset: where it stands in the block's text
        begin, end: where it stands in the whole text, its own markup included
        items: its own markup
        space_at: where in the whole text a space belongs between it and the sentence before, in a
            language that has spaces there; None if there is one
    """

    text: str
    offset: int
    begin: int
    end: int
    items: tuple[Item, ...]
    space_at: int | None = None

    def between(self, position: int, spaced: bool, emit: Emit) -> str:
        """What stands between the sentence before, which ends at a position, and this one.

        Args:
            spaced: the target language has spaces between sentences
        """
        if spaced and self.space_at is not None:
            before, after = emit(position, self.space_at), emit(self.space_at, self.begin)
            return before + after if after[:1].isspace() else f"{before} {after}"
        gap = emit(position, self.begin)
        return "" if gap == " " and not spaced else gap

    def render(self, translation: AlignedText, escape: Callable[[str], str], emit: Emit) -> str:
        """The translation with the markup. A sentence that stayed as it is keeps its spelling.

        Args:
            escape: makes markup of text
            emit: gives parts of the whole text
        """
        if translation.text == self.text:
            return emit(self.begin, self.end)
        target = translation.text
        nodes = Tree(self.items, self.offset, len(self.text)).nodes()
        places = Places(self.text, target, translation.alignment)
        return render(nodes, places, (0, len(target)), escape, emit)
