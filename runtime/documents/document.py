"""What every parser of texts returns: the sentences, and the way back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tfm.runtime.alignment import Alignment

Split = Callable[[str], Sequence[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Segment:
    """A sentence to translate.

    Attributes:
        text: what it says, without markup
        begin, end: where it stands in the whole text, in characters, its markup included
        marks: `Document.assemble` needs its alignment, to put markup at the right words
        placeholders: parts of the text that its translation must have as often as it has, such as
            "%s"; most formats have none
    """

    text: str
    begin: int
    end: int
    marks: bool = False
    placeholders: tuple[str, ...] = ()


class AlignedText(Protocol):
    """What `Document.assemble` needs to know of a Translation."""

    @property
    def text(self) -> str:
        """The best hypothesis."""
        ...

    @property
    def alignment(self) -> Alignment | None:
        """Of its words with the sentence's."""
        ...


class Document(Protocol):
    """A text that was taken apart."""

    @property
    def segments(self) -> Sequence[Segment]:
        """The sentences to translate, in their order."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What was wrong with the text, a line for each problem, with where it is."""
        ...

    def assemble(self, translations: Sequence[AlignedText]) -> str:
        """The whole text, with the translations in the places of its sentences.

        Args:
            translations: one for each segment

        Raises:
            ValueError: there are more or fewer
        """
        ...


def check_count(segments: Sequence[Segment], translations: Sequence[AlignedText]) -> None:
    """Raises ValueError unless there is one translation for each segment."""
    if len(segments) != len(translations):
        raise ValueError(
            f"{len(translations)} translations for {len(segments)} segments: there must be one for"
            " each"
        )
