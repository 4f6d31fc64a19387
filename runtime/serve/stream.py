"""The service's own API: a text sentence by sentence, as server-sent events or as one answer, with
what the page shows of each."""

import asyncio
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import anyio
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import tfm.runtime
from tfm.runtime.alignment import Alignment
from tfm.runtime.documents import Segment
from tfm.runtime.errors import TfmError
from tfm.runtime.translation import Translation

from .errors import RequestError
from .service import Call, Endpoint, Service, unless_left
from .text_service import PlannedText, TextRequest, assembled

EVENT_STREAM = "text/event-stream"
PARTIAL_AFTER = 0.05  # seconds: what is translated sooner is not worth a look at its beginning
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

Event = tuple[str, dict[str, Any]]


def error_body(error: RequestError) -> Mapping[str, Any]:
    """How it says what is wrong."""
    return {"error": error.message}


@dataclass(frozen=True, slots=True)
class StreamedText:
    """A text whose sentences are told of as they are translated."""

    service: Service
    plan: PlannedText
    alternatives: int
    partial: bool
    client: str

    def start(self) -> dict[str, Any]:
        """The languages, and where the sentences are."""
        return {
            "source": self.plan.detected.language,
            "target": self.plan.target,
            "sentences": [
                {"index": index, "begin": segment.begin, "end": segment.end}
                for index, segment in enumerate(self.plan.document.segments)
            ],
        }

    async def events(self) -> AsyncGenerator[Event, None]:
        """start, for each sentence any `partial` and one `sentence`, and end.

        Raises:
            TranslationError: there is too little memory, or a graph failed
        """
        yield "start", self.start()
        segments = self.plan.document.segments
        done: list[Translation] = []
        jobs = ((self.plan, segment) for segment in segments)
        async with aclosing(self.service.texts.in_order(jobs, self.client)) as translations:
            while len(done) < len(segments):
                index, segment = len(done), segments[len(done)]
                following = asyncio.create_task(anext(translations))
                try:
                    if self.partial:
                        async for text in self._settling(segment, following):
                            yield "partial", {"index": index, "text": text}
                    translation = await following
                finally:
                    await _stop(following)
                done.append(translation)
                yield "sentence", self._sentence(index, segment, translation)
        yield "end", {"text": assembled(self.plan, done)}

    async def _settling(
        self, segment: Segment, following: "asyncio.Task[Translation]"
    ) -> AsyncGenerator[str, None]:
        """What has settled of a sentence, each time more, until its translation is there."""
        await asyncio.wait({following}, timeout=PARTIAL_AFTER)
        if following.done() or self.plan.model is None:
            return
        languages = {
            name: self.plan.options[name] for name in ("source_language", "target_language")
        }
        text = ""
        async with aclosing(self.plan.model.service.stream(segment.text, **languages)) as pieces:
            reading: AsyncIterator[str] = aiter(pieces)
            while True:
                piece = asyncio.create_task(_next(reading))
                try:
                    await asyncio.wait({following, piece}, return_when=asyncio.FIRST_COMPLETED)
                    if following.done() or (found := piece.result()) is None:
                        return
                finally:
                    await _stop(piece)
                text += found
                yield text

    def _sentence(self, index: int, segment: Segment, found: Translation) -> dict[str, Any]:
        best = found.hypotheses[0]
        others = dict.fromkeys(h.text for h in found.hypotheses[1:] if h.text != best.text)
        scores = {h.text: h.score for h in reversed(found.hypotheses)}
        return {
            "index": index,
            "begin": segment.begin,
            "end": segment.end,
            "text": best.text,
            "score": _finite(best.score),
            "truncated": best.truncated,
            "alternatives": [
                {"text": text, "score": _finite(scores[text])}
                for text in list(others)[: self.alternatives]
            ],
            "alignment": None if found.alignment is None else aligned_spans(found.alignment),
            "doubts": list(found.doubts),
        }


def _finite(score: float) -> float | None:
    """JSON has no other numbers."""
    return score if math.isfinite(score) else None


def aligned_spans(alignment: Alignment) -> list[list[int]]:
    """[source begin, source end, target begin, target end] of each pair, in characters."""
    return [
        [*alignment.source_spans[source], *alignment.target_spans[target]]
        for source, target in alignment.pairs
    ]


def routes(service: Service) -> list[Route]:
    """Its addresses."""

    async def translate(call: Call) -> Response:
        streamed = await _streamed_text(service, call)
        if EVENT_STREAM in call.request.headers.get("accept", ""):
            lines = _event_lines(streamed)
            return StreamingResponse(lines, media_type=EVENT_STREAM, headers=_HEADERS)
        return JSONResponse(await unless_left(call.request, _at_once(streamed)))

    async def info(_call: Call) -> Response:
        models = [
            {
                "source": direction.source,
                "target": direction.target,
                "name": model.config.name,
                "variant": model.variant,
            }
            for direction, model in service.models.directions.items()
        ]
        version = tfm.runtime.__version__
        return JSONResponse({"version": version, "models": models, "engine": "server"})

    return [
        Endpoint(service, translate, error_body).at("/tfm/translate"),
        Endpoint(service, info, error_body, method="GET", is_open=True).at("/tfm/info"),
    ]


async def _streamed_text(service: Service, call: Call) -> StreamedText:
    parameters = call.parameters
    text = parameters.text("q")
    request = TextRequest(
        source=parameters.text("source"),
        target=parameters.text("target"),
        alternatives=parameters.integer("alternatives"),
        client=call.client,
    )
    wishes = {
        "with_scores": True,
        "with_alignment": parameters.flag("alignment"),
        "with_doubts": parameters.flag("doubts"),
    }
    partial = parameters.flag("partial")
    service.limits.check_texts([text])
    service.limits.check_alternatives(request.alternatives)
    service.count(call, 1)
    plan = await service.texts.plan(text, request, **wishes)
    return StreamedText(service, plan, request.alternatives, partial, call.client)


async def _at_once(streamed: StreamedText) -> dict[str, Any]:
    answer: dict[str, Any] = {"sentences": []}
    async with aclosing(streamed.events()) as events:
        async for name, data in events:
            if name == "start":
                answer |= {key: data[key] for key in ("source", "target")}
            elif name == "sentence":
                answer["sentences"].append(data)
            elif name == "end":
                answer |= data
    return answer


async def _event_lines(streamed: StreamedText) -> AsyncGenerator[str, None]:
    try:
        async with aclosing(streamed.events()) as events:
            async for name, data in events:
                yield _event(name, data)
    except TfmError as error:
        yield _event("error", {"error": str(error)})


def _event(name: str, data: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


async def _next(pieces: AsyncIterator[str]) -> str | None:
    return await anext(pieces, None)


async def _stop(task: "asyncio.Task[Any]") -> None:
    """Cancel a task and wait for its end. Where a client left, starlette cancels whoever waits
    again and again: without a shield the task would still be in a generator that is closed."""
    task.cancel()
    with anyio.CancelScope(shield=True):
        await asyncio.wait({task})
