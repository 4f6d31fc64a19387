"""Texts in, texts out: sentences are found, translated in the batches of all callers, and put
together again."""

import asyncio
import importlib.util
import re
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Hashable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from tfm.runtime.documents import Document, Segment, parse_html, parse_text
from tfm.runtime.documents.document import AlignedText
from tfm.runtime.documents.formats import (
    FORMATS,
    FileDocument,
    find_format,
    is_readable,
    read_document,
)
from tfm.runtime.documents.translate import Untranslated, patterns_of
from tfm.runtime.translation import Translation

from .detection import DetectedLanguage, detect_languages
from .errors import bad_request
from .languages import AUTO, find_code
from .metrics import Metrics
from .models import Models, ServedModel
from .n_best import best_combinations

Parse = Callable[[str, str, str], Document]

# Sentences of one request that may wait at a time: enough for a full batch, and few enough that
# others of the same client are not behind a whole book.
MOST_WAITING = 64
_LONG = 2000  # characters, whose sentences are looked for in another thread
_LONGEST_TURN = 0.005  # seconds in which nobody else has the event loop
_TAG = re.compile(r"<[^<>]*>")
DEFAULT_LANGUAGE = "en"  # of a text without a word


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRequest:
    """How texts are to be translated.

    Attributes:
        source: a language as a client may write it, or "auto"
        target: the same
        html: the texts are HTML
        alternatives: how many further translations of each text
        client: on whose behalf
    """

    source: str
    target: str
    html: bool = False
    alternatives: int = 0
    client: Hashable = None


@dataclass(frozen=True, slots=True)
class TranslatedText:
    """What became of a text.

    Attributes:
        text: its translation
        source, target: languages, in the models' codes
        confidence: of the source, 0 to 100; 100 where it was given
        alternatives: further translations, best first, none twice
    """

    text: str
    source: str
    target: str
    confidence: float
    alternatives: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedText:
    """A text, the model for it, and its sentences; without a model it stays as it is."""

    text: str
    detected: DetectedLanguage
    target: str
    model: ServedModel | None
    document: Document
    options: dict[str, Any] = field(default_factory=dict)


class _LoopTurn:
    """The event loop, which work in many small parts gives away in time."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    async def let_others(self) -> None:
        """Let others have it, where this turn has been long."""
        if time.monotonic() - self._begun >= _LONGEST_TURN:
            await asyncio.sleep(0)
            self._begun = time.monotonic()


class TextService:
    """Translates texts with the models; they must be loaded."""

    def __init__(self, models: Models, metrics: Metrics) -> None:
        """metrics: are told of what is translated."""
        self.models, self.metrics = models, metrics

    def detect(self, text: str) -> list[DetectedLanguage]:
        """The languages that a text may be in, the likeliest first, at least one."""
        languages = self.models.languages
        fallback = DEFAULT_LANGUAGE if DEFAULT_LANGUAGE in languages else languages[0]
        return detect_languages(text, languages) or [DetectedLanguage(fallback, 0.0)]

    async def translate(self, texts: Sequence[str], request: TextRequest) -> list[TranslatedText]:
        """One translation for each text, in the order given.

        Raises:
            RequestError: a language or direction is not known
            TranslationError: there is too little memory, or a graph failed
        """
        return await self.translate_each([(text, request) for text in texts])

    async def translate_each(
        self, texts: Sequence[tuple[str, TextRequest]]
    ) -> list[TranslatedText]:
        """`translate` where each text may be asked for in another way, on behalf of one client."""
        turn = _LoopTurn()
        plans = []
        for text, request in texts:
            plans.append(await self.plan(text, request))
            await turn.let_others()
        jobs = [(plan, segment) for plan in plans for segment in plan.document.segments]
        found: list[Translation] = []
        client = texts[0][1].client if texts else None
        async with aclosing(self.in_order(jobs, client)) as translations:
            async for translation in translations:
                found.append(translation)
        results, begin = [], 0
        for plan, (_, request) in zip(plans, texts, strict=True):
            end = begin + len(plan.document.segments)
            results.append(_assembled(plan, found[begin:end], request.alternatives))
            begin = end
            await turn.let_others()
        return results

    async def translate_file(self, content: bytes, name: str, request: TextRequest) -> bytes:
        """A document in, the same document in the other language out.

        Args:
            name: of the file, whose end says what it is

        Raises:
            RequestError: a language or direction is not known, or it is no such document
        """
        document = await asyncio.to_thread(_read_file, content, name, "", request.target)
        # Of a text in any language the same sentences are found, so these tell which it is.
        sentences = "\n".join(segment.text for segment in document.segments)
        detected, target = self._direction(sentences, request)
        model = self._model(detected, target)
        if model is None:
            return content
        languages = detected.language, target
        document = await asyncio.to_thread(_read_file, content, name, *languages)
        options = self._options(model, *languages, request)
        self.metrics.text_came(*languages, len(sentences))
        plan = PlannedText("", detected, target, model, document.document, options)
        jobs = [(plan, s) for s in document.segments if is_readable(s.text)]
        found: dict[Segment, AlignedText] = {}
        async with aclosing(self.in_order(jobs, request.client)) as translations:
            for (_, segment), translation in zip(
                jobs, [one async for one in translations], strict=True
            ):
                found[segment] = translation
        whole = [found.get(segment, Untranslated(segment.text)) for segment in document.segments]
        return await asyncio.to_thread(document.assemble, whole)

    async def plan(self, text: str, request: TextRequest, **how: Any) -> PlannedText:
        """Find a text's language, model and sentences.

        Args:
            how: further arguments of AsyncTranslator.translate

        Raises:
            RequestError: a language or direction is not known
        """
        detected, target = self._direction(text, request)
        model = self._model(detected, target)
        parse: Parse = parse_html if request.html else parse_text
        arguments = ("" if model is None else text), detected.language, target
        if len(text) > _LONG:
            document = await asyncio.to_thread(parse, *arguments)
        else:
            document = parse(*arguments)
        if model is not None:
            self.metrics.text_came(detected.language, target, len(text))
            how = self._options(model, detected.language, target, request) | how
        return PlannedText(text, detected, target, model, document, how)

    def _model(self, detected: DetectedLanguage, target: str) -> ServedModel | None:
        """The model of a direction; None for text that is to stay as it is."""
        # What has no word in a script of these languages would become nonsense.
        model = self.models.find(detected.language, target) if detected.confidence else None
        if model is None and detected.language != target and detected.confidence:
            raise bad_request(f"no model translates from {detected.language} to {target}")
        return model

    def _direction(self, text: str, request: TextRequest) -> tuple[DetectedLanguage, str]:
        target = find_code(request.target, self.models.languages)
        if target is None:
            raise bad_request(f"the target language {request.target!r} is not supported")
        if request.source.lower() == AUTO:
            return self.detect(_TAG.sub(" ", text) if request.html else text)[0], target
        source = find_code(request.source, self.models.languages, is_source=True)
        if source is None:
            raise bad_request(f"the source language {request.source!r} is not supported")
        return DetectedLanguage(source, 100.0), target

    def _options(
        self, model: ServedModel, source: str, target: str, request: TextRequest
    ) -> dict[str, Any]:
        options = model.service.translator.options
        beams = options.beam_size
        how: dict[str, Any] = {"source_language": source, "target_language": target}
        if request.alternatives and not request.html:
            # Whoever wants fewer than the beam has is in one batch with those who want all of it.
            count = max(beams, request.alternatives + 1)
            wanted = {"num_hypotheses": count, "beam_size": count}
            try:
                options.changed(**wanted)
            except ValueError as error:
                raise bad_request(f"alternatives is {request.alternatives}: {error}") from error
            how |= wanted
        elif beams == 1:
            how["with_scores"] = False  # which greedy search would need a second pass for
        return how

    async def in_order(
        self, jobs: Iterable[tuple[PlannedText, Segment]], client: Hashable
    ) -> AsyncGenerator[Translation, None]:
        """Translations of sentences, in their order, as soon as those before them are there.
        Leaving the loop cancels the rest."""
        waiting: deque[asyncio.Task[Translation]] = deque()
        try:
            for plan, segment in jobs:
                waiting.append(asyncio.create_task(self._sentence(plan, segment, client)))
                while waiting and (len(waiting) >= MOST_WAITING or waiting[0].done()):
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _sentence(self, plan: PlannedText, segment: Segment, client: Hashable) -> Translation:
        assert plan.model is not None  # a text without a model has no segments
        how = plan.options | {"with_alignment": True} if segment.marks else plan.options
        if segment.placeholders:
            how = how | {"placeholders": patterns_of([segment])}
        self.metrics.sentence_waits()
        done = False
        try:
            translation = await plan.model.service.translate(segment.text, client=client, **how)
            done = True
        finally:
            self.metrics.sentence_ended(plan.detected.language, plan.target, translated=done)
        return translation


def file_endings() -> list[str]:
    """How the names of files end that can be translated."""
    return [
        ending
        for format in FORMATS.values()
        if "columns" not in format.options
        and (format.needs is None or importlib.util.find_spec(format.needs))
        for ending in format.suffixes
    ]


def _read_file(content: bytes, name: str, source: str, target: str) -> FileDocument:
    try:
        format = find_format(None, name)
        if "columns" in format.options:
            raise ValueError(f"{name}: tables are not translated here")
        return read_document(content, format, source, target)
    except ValueError as error:
        raise bad_request(str(error)) from None
    except ModuleNotFoundError as error:
        raise bad_request(f"{name}: this service lacks {error.name} for such files") from None


def assembled(plan: PlannedText, translations: Sequence[Translation]) -> str:
    """The whole text of its sentences' translations."""
    return plan.text if plan.model is None else plan.document.assemble(translations)


def _assembled(
    plan: PlannedText, translations: Sequence[Translation], alternatives: int
) -> TranslatedText:
    text = assembled(plan, translations)
    others: dict[str, None] = {}
    if alternatives and translations and "num_hypotheses" in plan.options:
        scores = [[h.score for h in translation.hypotheses] for translation in translations]
        for chosen in best_combinations(scores, alternatives + 1)[1:]:
            pairs = zip(translations, chosen, strict=True)
            others[assembled(plan, [_with_first(t, rank) for t, rank in pairs])] = None
        others.pop(text, None)
    confidence = plan.detected.confidence
    return TranslatedText(text, plan.detected.language, plan.target, confidence, tuple(others))


def _with_first(translation: Translation, rank: int) -> Translation:
    """The translation whose best hypothesis is another one."""
    return replace(translation, hypotheses=(translation.hypotheses[rank],))
