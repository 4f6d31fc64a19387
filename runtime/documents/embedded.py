"""Plain texts within a format that is no text itself, such as the fields of a table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .document import AlignedText, Segment, check_count
from .line_numbers import LineNumbers
from .plain_text import TextDocument

Edit = tuple[int, int, str]  # characters of the whole text, from and to, and what takes their place


@dataclass(frozen=True, slots=True)
class EmbeddedText:
    """A text at [begin, end) of the whole, where it may be spelled otherwise (escapes)."""

    document: TextDocument
    begin: int
    end: int

    def segments(self, find_placeholders: Callable[[str], tuple[str, ...]]) -> list[Segment]:
        """Its sentences, with their places in the whole; those of a text with another spelling
        have all of its place."""
        exact = self.end - self.begin == len(self.document.text)
        return [
            Segment(
                segment.text,
                self.begin + segment.begin if exact else self.begin,
                self.begin + segment.end if exact else self.end,
                placeholders=find_placeholders(segment.text),
            )
            for segment in self.document.segments
        ]


@dataclass(frozen=True, slots=True)
class Entry:
    """Texts that are written together.

    Attributes:
        texts: what is translated
        write: from their translations to the edits of the whole text, none where all stays as it
            is, and to what is wrong, "" for nothing
    """

    texts: Sequence[EmbeddedText]
    write: Callable[[Sequence[str]], tuple[Sequence[Edit], str]]


def no_placeholders(_text: str) -> tuple[str, ...]:
    """What a format without placeholders has."""
    return ()


@dataclass(slots=True)
class EmbeddedDocument:
    """A text whose embedded texts were found.

    Attributes:
        text: the whole of it
        entries: in the order of their texts
        problems: those that were found in parsing
        find_placeholders: those of a sentence
        first_line: the number of the text's first line in its file
    """

    text: str
    entries: Sequence[Entry]
    problems: Sequence[str] = ()
    find_placeholders: Callable[[str], tuple[str, ...]] = no_placeholders
    first_line: int = 1
    segments: Sequence[Segment] = field(init=False)
    _lost: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.segments = tuple(
            segment
            for entry in self.entries
            for text in entry.texts
            for segment in text.segments(self.find_placeholders)
        )
        cut = [
            (text.begin, note.partition(": ")[2])
            for entry in self.entries
            for text in entry.texts
            for note in text.document.notes
        ]
        if cut:
            lines = LineNumbers(self.text, self.first_line)
            self.problems = [
                *self.problems,
                *(f"line {lines.at(begin)}: {problem}" for begin, problem in cut),
            ]

    @property
    def notes(self) -> Sequence[str]:
        """What was wrong with the text and, after assemble(), with its translations."""
        return [*self.problems, *self._lost]

    def assemble(self, translations: Sequence[AlignedText]) -> str:
        """See `Document.assemble`. Outside of the edits all stays as it was."""
        check_count(self.segments, translations)
        self._lost.clear()
        edits: list[Edit] = []
        position = 0
        for entry in self.entries:
            texts = []
            for text in entry.texts:
                count = len(text.document.segments)
                own = translations[position : position + count]
                texts.append(text.document.assemble(own))
                position += count
            changes, problem = entry.write(texts)
            edits += changes
            if problem:
                self._lost.append(problem)
        return edited(self.text, edits)


def edited(text: str, edits: Sequence[Edit]) -> str:
    """The text with its edits, which do not overlap; of those at one place the first goes first."""
    parts: list[str] = []
    position = 0
    for begin, end, replacement in sorted(edits, key=lambda edit: edit[:2]):
        parts += [text[position:begin], replacement]
        position = end
    return "".join([*parts, text[position:]])
