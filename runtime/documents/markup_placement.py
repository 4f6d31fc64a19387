"""Where in a translation the markup of its source belongs.

Marked words are followed to what they became by the alignment; elements stay nested as in the
source, and each appears once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tfm.runtime.alignment import Alignment
from tfm.runtime.scripts import is_spaced_letter

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


@dataclass(slots=True)
class Node:
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
    children: list["Node"] = field(default_factory=list)


class Tree:
    """The markup of a sentence, nested."""

    def __init__(self, items: Sequence[Item], offset: int, length: int) -> None:
        """
        Args:
            offset: of the sentence in its block
            length: of the sentence
        """
        self._items, self._offset, self._length = items, offset, length
        self._own = set(items)
        self._position = 0

    def nodes(self, until: Item | None = None) -> list[Node]:
        """Those from the position on, up to what closes the element around them."""
        items, offset = self._items, self._offset
        nodes: list[Node] = []
        while self._position < len(items) and (item := items[self._position]) is not until:
            self._position += 1
            at = item.at - offset
            if item.to > item.at:
                nodes.append(Node(at, item.to - offset, item, kept=True))
            elif item.partner is None:
                nodes.append(Node(at, at, item))
            elif not item.opens:  # it began in an earlier sentence: all so far is in it
                nodes = [Node(0, at, None, item, children=nodes)]
            elif item.partner in self._own:
                children = self.nodes(item.partner)
                self._position += 1
                end = item.partner.at - offset
                nodes.append(Node(at, end, item, item.partner, children=children))
            else:
                children = self.nodes(until)
                nodes.append(Node(at, self._length, item, goes_on=True, children=children))
        return nodes


class Places:
    """Where in the translation is what stands somewhere in the source."""

    def __init__(self, source: str, target: str, alignment: Alignment | None) -> None:
        self.source, self.target = source, target
        self._taken: set[int] = set()  # where what is kept was found already
        self.spans: list[tuple[Span, Span]] = []
        if alignment is not None:
            self.spans = [
                (alignment.source_spans[first], alignment.target_spans[second])
                for first, second in alignment.pairs
            ]

    def of(self, node: Node, within: Span) -> Span:
        """The part of the translation, within a part, that a node belongs to."""
        low, high = within
        if node.kept:
            text = self.source[node.begin : node.end]
            found = self.target.find(text, low, high) if text else -1
            while found >= 0 and found in self._taken:
                found = self.target.find(text, found + len(text), high)
            if found >= 0:
                self._taken.add(found)
                return found, found + len(text)
        begin = end = 0
        # What is kept is written besides: without alignment it must not stand for all of it.
        if node.begin < node.end and (self.spans or not node.kept):
            begin, end = self._largest_run(node.begin, node.end)
            if begin >= end:  # nothing came of these words: their neighbours have their place
                begin, end = self._nearest(node)
        if begin >= end:
            begin = end = self._after(node.begin)
        else:
            begin, end = self._whole_words(begin, end)
        begin = low if node.opening is None else min(max(begin, low), high)
        end = high if node.goes_on else min(max(end, begin), high)
        return begin, end

    def would_join(self, node: Node, neighbour: int, own: int) -> bool:
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

    def _nearest(self, node: Node) -> Span:
        """What came of the source nearest to a node."""
        middle = (node.begin + node.end) / 2
        spans = [span for span in self.spans if self.target[slice(*span[1])].strip()]
        if not spans:
            return 0, 0
        _, (begin, end) = min(spans, key=lambda span: (abs(sum(span[0]) / 2 - middle), -span[0][0]))
        return begin + self.target[begin:end].startswith(" "), end

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


def render(
    nodes: Sequence[Node],
    places: Places,
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
    before: Node | None = None
    for begin, end, _, node in placed:
        begin = max(begin, position)
        end = max(begin, end)
        parts.append(escape(places.target[position:begin]))
        crowded = before is not None and before.end != node.begin
        if node.kept and (places.would_join(node, begin - 1, 0) or (crowded and begin == position)):
            parts.append(" ")
        before = node
        if node.opening is not None:
            parts.append(emit(node.opening.begin, node.opening.end))
        if not node.kept:
            parts.append(render(node.children, places, (begin, end), escape, emit))
        if node.closing is not None:
            parts.append(emit(node.closing.begin, node.closing.end))
        if node.kept and places.would_join(node, end, -1):
            parts.append(" ")
        position = end
    return "".join([*parts, escape(places.target[position:high])])
