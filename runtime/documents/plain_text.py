"""Plain text: its sentences, and everything between them as it was."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tfm.runtime.scripts import is_spaced

from .document import AlignedText, Segment, Split, check_count
from .sentences import is_cut, split_sentences


@dataclass(frozen=True, slots=True)
class TextDocument:
    """A text whose sentences were found.

    Attributes:
        text: the whole of it
        segments: its sentences
        spaced: the target language has spaces between sentences
        notes: which sentences were too long and are translated in parts
    """

    text: str
    segments: tuple[Segment, ...]
    spaced: bool
    notes: tuple[str, ...] = ()

    def assemble(self, translations: Sequence[AlignedText], *, bilingual: bool = False) -> str:
        """See `Document.assemble`. Line breaks, indentation and blank lines stay; between two
        sentences of a line is what the target language has there, a space or nothing.

        Args:
            bilingual: write every line that has a sentence in both languages, the source first
        """
        check_count(self.segments, translations)
        if bilingual:
            return "".join(self._both(translations))
        return self._assemble(translations, 0, 0, len(self.text))

    def _assemble(
        self, translations: Sequence[AlignedText], first: int, begin: int, end: int
    ) -> str:
        """The part [begin, end) of the text, which has these sentences, from one's number on."""
        parts: list[str] = []
        position = begin
        for number, translation in enumerate(translations):
            segment = self.segments[first + number]
            between = self.text[position : segment.begin]
            if number and translation.text != segment.text:
                between = between_sentences(between, self.spaced)
            parts += [between, translation.text]
            position = segment.end
        return "".join([*parts, self.text[position:end]])

    def _both(self, translations: Sequence[AlignedText]) -> Iterator[str]:
        first = position = 0
        for line in self.text.splitlines(keepends=True):
            begin, position = position, position + len(line)
            count = first
            while count < len(self.segments) and self.segments[count].begin < position:
                count += 1
            said = self._assemble(translations[first:count], first, begin, position)
            yield line
            if said != line:
                yield "" if line.endswith(("\n", "\r")) else "\n"
                yield said
            first = count


def parse_text(
    text: str, source: str, target: str, *, split: Split = split_sentences
) -> TextDocument:
    """The sentences of a plain text.

    Args:
        source, target: languages, such as "zh" and "en"
        split: finds the sentences: where each begins and ends
    """
    segments = tuple(Segment(text[begin:end], begin, end) for begin, end in split(text))
    return TextDocument(text, segments, is_spaced(target), tuple(_cut(text, segments)))


def _cut(text: str, segments: Sequence[Segment]) -> Iterator[str]:
    """A note for each sentence that was cut into parts."""
    line, counted = 1, 0
    number = 0
    while number < len(segments):
        first = last = number
        while last + 1 < len(segments) and is_cut(
            text, segments[last].end, segments[last + 1].begin
        ):
            last += 1
        number = last + 1
        if last > first:
            begin, end = segments[first].begin, segments[last].end
            line += text.count("\n", counted, begin)
            counted = begin
            yield (
                f"line {line}: a sentence of {end - begin} characters is translated in"
                f" {last - first + 1} parts"
            )


def between_sentences(between: str, spaced: bool) -> str:
    """What belongs between two sentences of the target, for what is between those of the source."""
    if not between and spaced:
        return " "
    if between == " " and not spaced:
        return ""
    return between
