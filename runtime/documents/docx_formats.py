"""Which format each character of a translation has: that of the word that it comes from."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tfm.runtime.scripts import is_spaced_letter

from .document import AlignedText
from .docx_runs import Atom, AtomKind
from .inline_markup import MarkedSentence


def formats_of(
    atoms: Sequence[Atom], sentence: MarkedSentence, translation: AlignedText
) -> list[str]:
    """The formats of a translation's characters. Words have one; what is aligned with nothing has
    its neighbour's; without an alignment all has the format of the most characters.

    Args:
        atoms: of the sentence
    """
    formats = list(_of_source(atoms))
    target = translation.text
    common = _most_common(
        [format for format, char in zip(formats, sentence.text, strict=False) if char != " "]
    )
    alignment = translation.alignment
    if alignment is None or len(set(formats)) < 2 or len(formats) != len(sentence.text):
        return [common] * len(target)
    found: list[str | None] = [None] * len(target)
    for source_number, target_number in alignment.pairs:
        begin, end = alignment.source_spans[source_number]
        own = [formats[at] for at in range(begin, end) if sentence.text[at] != " "]
        first, last = alignment.target_spans[target_number]
        for at in range(first, last):
            if own and not target[at].isspace():
                found[at] = _most_common(own)
    for begin, end in _words(target):
        within = [format for format in found[begin:end] if format is not None]
        if within:
            found[begin:end] = [_most_common(within)] * (end - begin)
    return _filled(found, target, common)


def _of_source(atoms: Sequence[Atom]) -> Iterator[str]:
    """The formats of the sentence's characters; several spaces are one."""
    before = ""
    for atom in atoms:
        if atom.kind is not AtomKind.CHARACTER:
            continue
        char = " " if atom.said.isspace() and atom.said != "\xa0" else atom.said
        if char != " " or before != " ":
            yield atom.format
        before = char


def _most_common(formats: Sequence[str]) -> str:
    """The first of the most frequent."""
    return Counter(formats).most_common(1)[0][0] if formats else ""


def _words(text: str) -> Iterator[tuple[int, int]]:
    begin = 0
    for end in range(1, len(text) + 1):
        if end == len(text) or not (
            is_spaced_letter(text[end - 1]) and is_spaced_letter(text[end])
        ):
            yield begin, end
            begin = end


def _filled(found: Sequence[str | None], target: str, common: str) -> list[str]:
    """With formats for what has none: its left neighbour's, at the beginning its right one's;
    a space between two formats has the most common one."""
    after: list[str] = []  # what the next character with a format has, from the end
    following = next((format for format in reversed(found) if format is not None), common)
    for format in reversed(found):
        following = following if format is None else format
        after.append(following)
    after.reverse()
    filled: list[str] = []
    before: str | None = None
    for at, format in enumerate(found):
        if format is not None:
            before = format
        elif before is None:
            format = after[at]
        elif target[at].isspace() and before != after[at]:
            format = common
        else:
            format = before
        filled.append(format)
    return filled
