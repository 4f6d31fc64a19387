"""Markup within sentences: taken out for the translator, put back at the words that the marked
words became.

A parser adds what it finds to a `Block`, such as a paragraph: text, tags that open and close, and
what stands between words, such as pictures. The words that belong together are known from the
translation's alignment (Garg et al. 2019; runtime/alignment.py). Elements that are nested in the
source are nested in the translation, whatever the alignment says, and none is lost.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tfm.runtime.alignment import Alignment
from tfm.runtime.scripts import is_spaced_letter, is_unspaced_letter

from .document import AlignedText, Split

_DEEPEST = 100  # elements in elements; tags that go deeper stand alone
_LONGEST_KEPT = 80  # characters

Span = tuple[int, int]
Emit = Callable[[int, int], str]  # a part of the whole text, from and to


@dataclass(slots=True, eq=False)
class Item:
    """A tag, or what stands between words.

    Attributes:
        at: its place in the block's text
        begin, end: its place in the whole text
        to: where in the block's text it ends; after `at` for what is not to be translated
        name: of the element that it opens or closes; None for what stands alone
        opens: it begins an element
        partner: the item that closes or opens the same element, if there is one in the block
    """

    at: int
    begin: int
    end: int
    to: int
    name: str | None = None
    opens: bool = False
    partner: "Item | None" = field(default=None, repr=False)


class Block:
    """Text that belongs together, such as a paragraph, with its markup taken out. Several spaces
    or line breaks count as one space, and as none between ideographs where a line ends."""

    def __init__(self) -> None:
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
            if char.isspace() and char != "\xa0":
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
        for begin, end in split("".join(shown)):
            for item in _overlapping(kept, begin, end):
                begin, end = min(begin, item.at), max(end, item.to)
            if spans and begin < spans[-1][1]:  # a long sentence was cut within what is kept
                begin = spans.pop()[0]
            spans.append((begin, end))
        return [
            self._sentence(begin, end)
            for begin, end in spans
            if any(map(str.isalpha, hidden[begin:end]))
        ]

    def _sentence(self, begin: int, end: int) -> "MarkedSentence":
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
        return MarkedSentence("".join(self._chars[begin:end]), begin, first, last, own)


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
    """

    text: str
    offset: int
    begin: int
    end: int
    items: tuple[Item, ...]

    def render(self, translation: AlignedText, escape: Callable[[str], str], emit: Emit) -> str:
        """The translation with the markup. A sentence that stayed as it is keeps its spelling.

        Args:
            escape: makes markup of text
            emit: gives parts of the whole text
        """
        if translation.text == self.text:
            return emit(self.begin, self.end)
        target = translation.text
        nodes = _Tree(self).nodes()
        places = _Places(self.text, target, translation.alignment)
        return _render(nodes, places, (0, len(target)), escape, emit)


@dataclass(slots=True)
class _Node:
    """An element, or what stands alone, in a sentence: source characters [begin, end).

    Attributes:
        kept: it is not translated
        goes_on: it ends in a later sentence
    """

    begin: int
    end: int
    opening: Item | None
    closing: Item | None = None
    kept: bool = False
    goes_on: bool = False
    children: list["_Node"] = field(default_factory=list)


class _Tree:
    """The markup of a sentence, nested."""

    def __init__(self, sentence: MarkedSentence) -> None:
        self._sentence = sentence
        self._own = set(sentence.items)
        self._position = 0

    def nodes(self, until: Item | None = None) -> list[_Node]:
        """Those from the position on, up to what closes the element around them."""
        items, offset = self._sentence.items, self._sentence.offset
        nodes: list[_Node] = []
        while self._position < len(items) and (item := items[self._position]) is not until:
            self._position += 1
            at = item.at - offset
            if item.to > item.at:
                nodes.append(_Node(at, item.to - offset, item, kept=True))
            elif item.partner is None:
                nodes.append(_Node(at, at, item))
            elif not item.opens:  # it began in an earlier sentence: all so far is in it
                nodes = [_Node(0, at, None, item, children=nodes)]
            elif item.partner in self._own:
                children = self.nodes(item.partner)
                self._position += 1
                end = item.partner.at - offset
                nodes.append(_Node(at, end, item, item.partner, children=children))
            else:
                end = len(self._sentence.text)
                nodes.append(_Node(at, end, item, goes_on=True, children=self.nodes(until)))
        return nodes


class _Places:
    """Where in the translation is what stands somewhere in the source."""

    def __init__(self, source: str, target: str, alignment: Alignment | None) -> None:
        self.source, self.target = source, target
        self.spans: list[tuple[Span, Span]] = []
        if alignment is not None:
            self.spans = [
                (alignment.source_spans[first], alignment.target_spans[second])
                for first, second in alignment.pairs
            ]

    def of(self, node: _Node, within: Span) -> Span:
        """The part of the translation, within a part, that a node belongs to."""
        low, high = within
        if node.kept:
            text = self.source[node.begin : node.end]
            found = self.target.find(text, low, high) if text else -1
            if found >= 0:
                return found, found + len(text)
        begin = end = 0
        if node.begin < node.end:
            begin, end = self._largest_run(node.begin, node.end)
        if begin >= end:
            begin = end = self._after(node.begin)
        else:
            begin, end = self._whole_words(begin, end)
        begin = low if node.opening is None else min(max(begin, low), high)
        end = high if node.goes_on else min(max(end, begin), high)
        return begin, end

    def would_join(self, node: _Node, neighbour: int, own: int) -> bool:
        """Whether a word of the translation would run into what a node keeps.

        Args:
            neighbour: the place of the word's character next to it
            own: which character is next to that: 0 the first, -1 the last
        """
        kept = self.source[node.begin : node.end]
        if not kept or not 0 <= neighbour < len(self.target):
            return False
        return is_spaced_letter(kept[own]) and is_spaced_letter(self.target[neighbour])

    def _largest_run(self, begin: int, end: int) -> Span:
        """The longest part of the translation that comes from source characters [begin, end); of a
        translation without alignment all of it."""
        if not self.spans:
            return 0, len(self.target)
        runs: list[list[int]] = []
        for source, target in self.spans:  # in the target's order
            if source[0] < end and begin < source[1]:
                if runs and not self.target[runs[-1][1] : target[0]].strip():
                    runs[-1][1] = target[1]
                else:
                    runs.append(list(target))
        first, last = max(runs, key=lambda run: run[1] - run[0], default=(0, 0))
        while first < last and self.target[first].isspace():
            first += 1
        while first < last and self.target[last - 1].isspace():
            last -= 1
        return first, last

    def _after(self, source_position: int) -> int:
        """Where the translation of what precedes a place in the source ends."""
        if not self.spans:
            return len(self.target) if 2 * source_position >= len(self.source) else 0
        before = [span for span in self.spans if span[0][1] <= source_position]
        if not before:
            return 0
        nearest = max(source[1] for source, _ in before)
        return max(target[1] for source, target in before if source[1] == nearest)

    def _whole_words(self, begin: int, end: int) -> Span:
        while begin and all(map(is_spaced_letter, self.target[begin - 1 : begin + 1])):
            begin -= 1
        while end < len(self.target) and all(map(is_spaced_letter, self.target[end - 1 : end + 1])):
            end += 1
        return begin, end


def _render(
    nodes: Sequence[_Node],
    places: _Places,
    within: Span,
    escape: Callable[[str], str],
    emit: Emit,
) -> str:
    """The part of the translation with these nodes and all that is in them."""
    position, high = within
    placed = sorted(
        ((*places.of(node, within), number, node) for number, node in enumerate(nodes)),
        key=lambda entry: entry[:3],
    )
    parts: list[str] = []
    for begin, end, _, node in placed:
        begin = max(begin, position)
        end = max(begin, end)
        parts.append(escape(places.target[position:begin]))
        if node.kept and places.would_join(node, begin - 1, 0):
            parts.append(" ")
        if node.opening is not None:
            parts.append(emit(node.opening.begin, node.opening.end))
        if not node.kept:
            parts.append(_render(node.children, places, (begin, end), escape, emit))
        if node.closing is not None:
            parts.append(emit(node.closing.begin, node.closing.end))
        if node.kept and places.would_join(node, end, -1):
            parts.append(" ")
        position = end
    return "".join([*parts, escape(places.target[position:high])])
