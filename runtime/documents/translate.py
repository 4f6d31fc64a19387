"""Translating a document with a translator: what `Translator.translate_document` does."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tfm.runtime.alignment import Alignment
from tfm.runtime.config import ModelConfig
from tfm.runtime.placeholders import COPIED, PlaceholderPatterns
from tfm.runtime.translation import Translation

from .document import AlignedText, Segment, Split
from .formats import find_format, is_readable
from .sentences import split_sentences

CHUNK = 256  # sentences that are translated before it is said how far the work is


class DocumentTranslator(Protocol):
    """What is needed of a Translator."""

    config: ModelConfig

    def translate_batch(
        self, sentences: Iterable[str], *args: Any, **how: Any
    ) -> list[Translation]:
        """See `Translator.translate_batch`."""
        ...


@dataclass(frozen=True, slots=True)
class Untranslated:
    """A sentence that stays as it is."""

    text: str
    alignment: Alignment | None = None


@dataclass(frozen=True, slots=True)
class TranslatedDocument:
    """What a document became.

    Attributes:
        text: the whole of it; bytes of a .docx
        segments: its sentences, with their places in the source
        translations: of each of them
        notes: what was wrong with it, and what stayed untranslated, a line each
    """

    text: Any
    segments: tuple[Segment, ...]
    translations: tuple[AlignedText, ...]
    notes: tuple[str, ...]


def translate_segments(
    translator: DocumentTranslator, segments: Sequence[Segment], *args: Any, **how: Any
) -> Iterator[list[AlignedText]]:
    """Translate sentences of a document, some at a time, in their order.

    Args:
        args, how: as for `Translator.translate_batch`
    """
    # A model without heads that align, as those of others, cannot say where markup belongs.
    can_align = translator.config.alignment is not None
    for begin in range(0, len(segments), CHUNK):
        chunk = segments[begin : begin + CHUNK]
        translated: list[AlignedText] = [Untranslated(segment.text) for segment in chunk]
        kinds: dict[tuple[bool, bool], list[int]] = {}
        for number, segment in enumerate(chunk):
            if is_readable(segment.text):
                kind = segment.marks and can_align, bool(segment.placeholders)
                kinds.setdefault(kind, []).append(number)
        for (with_alignment, with_placeholders), numbers in kinds.items():
            changes: dict[str, Any] = {}
            if with_alignment:
                changes["with_alignment"] = True
            if with_placeholders:
                of_texts = patterns_of([chunk[n] for n in numbers], how.get("placeholders", COPIED))
                changes["placeholders"] = of_texts
            found = translator.translate_batch(
                [chunk[number].text for number in numbers], *args, **{**how, **changes}
            )
            for number, translation in zip(numbers, found, strict=True):
                translated[number] = translation
        yield translated


def patterns_of(
    segments: Sequence[Segment], always: PlaceholderPatterns | None = COPIED
) -> PlaceholderPatterns:
    """What must stay in the translations of some sentences, and what always must; None is
    nothing."""
    texts = [text for segment in segments for text in segment.placeholders]
    return (PlaceholderPatterns(()) if always is None else always).with_texts(texts)


def notes_on(segments: Sequence[Segment], translations: Sequence[AlignedText]) -> Iterator[str]:
    """What went wrong with sentences, a line each."""
    for segment, translation in zip(segments, translations, strict=True):
        if isinstance(translation, Translation):
            where = f"characters {segment.begin} to {segment.end}"
            if translation.hypotheses[0].truncated:
                yield f"{where}: its translation stopped at max_length, its end is missing"
            if translation.unmet:
                yield f"{where}: not in the translation: {', '.join(translation.unmet)}"


def translate_document(
    translator: DocumentTranslator,
    text: str | bytes,
    format: str,
    *,
    split: Split | None,
    progress: Callable[[int, int], None] | None,
    format_options: Mapping[str, Any] | None,
    **how: Any,
) -> TranslatedDocument:
    """See `Translator.translate_document`."""
    languages = translator.config.languages
    kind = find_format(format)
    if kind.is_text != isinstance(text, str):
        raise ValueError(
            f"a document of the format {format} is {'text' if kind.is_text else 'bytes'}"
        )
    document = kind.parse(
        text,
        how.get("source_language") or languages.source,
        how.get("target_language") or languages.target,
        split=split or split_sentences,
        **(format_options or {}),
    )
    translations: list[AlignedText] = []
    for chunk in translate_segments(translator, document.segments, **how):
        translations += chunk
        if progress is not None:
            progress(len(translations), len(document.segments))
    whole = document.assemble(translations)
    return TranslatedDocument(
        whole,
        tuple(document.segments),
        tuple(translations),
        (*document.notes, *notes_on(document.segments, translations)),
    )
