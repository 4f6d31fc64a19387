"""Translating for many callers at once: asyncio, and batches of what they ask at the same time."""

import os
import threading
import time
from collections.abc import AsyncGenerator, Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Protocol, Self

from .arguments import checked_timeout
from .batch_queue import BatchQueue
from .config import ModelConfig
from .decode import beams
from .options import DecodingOptions
from .placeholders import COPIED, PlaceholderPatterns
from .required_phrases import RequiredPhrases, required_phrases
from .reranking import Reranker
from .sessions import Sessions
from .terms import Terms
from .translation import Translation

# Fewer than in a text that waits as a whole: a batch this large has nearly the speed of any larger
# one, and whoever comes while it runs waits for its end.
MAX_BATCH_TOKENS = 2048
PATIENCE = 0.003
_LEAST_TIME = 1e-6  # seconds left of a limit of time that was over while its sentence waited


class BatchTranslator(Protocol):
    """What AsyncTranslator needs of a Translator."""

    config: ModelConfig
    options: DecodingOptions
    sessions: Sessions

    def source_length(self, sentence: str, **languages: str | None) -> int:
        """See `Translator.source_length`."""
        ...

    def translate_batch(
        self,
        sentences: Iterable[str],
        options: DecodingOptions | None = None,
        **how: Any,
    ) -> list[Translation]:
        """See `Translator.translate_batch`."""
        ...

    def stream(
        self,
        sentence: str,
        options: DecodingOptions | None = None,
        *,
        stop: Callable[[], bool] | None = None,
        **changes: Any,
    ) -> Iterator[str]:
        """See `Translator.stream`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchKey:
    """How sentences are to be translated: those with equal keys are translated together.

    Attributes:
        required: what tells terms and placeholders from others
        deadline: in the seconds of time.monotonic()
    """

    options: DecodingOptions
    source_language: str | None
    target_language: str | None
    with_scores: bool
    with_doubts: bool
    with_alignment: bool
    terms: Terms | None = field(compare=False)
    placeholders: PlaceholderPatterns | None = field(compare=False)
    required: tuple[str | None, ...]
    reranker: Reranker | None
    replace_unknowns: bool
    deadline: float | None


class AsyncTranslator:
    """Lets any number of tasks, in any event loops and threads, await translations of single
    sentences, which a Translator then translates in batches.

    What each caller asks stays its own: the order, a wrong argument, a failure, and being
    cancelled, which takes its sentence out of the queue and disturbs no one else. Callers with
    other options or languages are never in one batch. Streams are not batched; each has a thread.

    Example:
        >>> async with AsyncTranslator(translator, patience=0.005) as service:
        ...     await asyncio.gather(*map(service.translate, sentences))

    Attributes:
        translator: what translates
        max_batch_tokens: see __init__
        patience: see __init__
    """

    def __init__(
        self,
        translator: BatchTranslator,
        *,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        patience: float = PATIENCE,
    ) -> None:
        """Translate with a Translator, which stays open when this is closed.

        Args:
            max_batch_tokens: sentences x beams x longest source in a batch: more are faster
                together, fewer let those who come later wait less
            patience: seconds for which a sentence waits for others while nothing runs

        Raises:
            ValueError: an argument is out of its range
        """
        if not isinstance(max_batch_tokens, int) or max_batch_tokens < 1:
            raise ValueError(
                f"max_batch_tokens is {max_batch_tokens!r}: it must be a whole number, at least 1"
            )
        if not isinstance(patience, (int, float)) or not 0 <= patience <= 60:
            raise ValueError(f"patience is {patience!r}: it must be 0 to 60 seconds")
        self.translator = translator
        self.max_batch_tokens, self.patience = max_batch_tokens, patience
        self._queue: BatchQueue[str, Translation] = BatchQueue(
            self._translate, budget=max_batch_tokens, patience=patience
        )
        self._closed = threading.Event()
        self._streams: dict[threading.Thread, int] = {}  # and the process that each is of

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as the Translator is."""
        limits: dict[str, Any] = {
            "max_batch_tokens": self.max_batch_tokens,
            "patience": self.patience,
        }
        return partial(type(self), **limits), (self.translator,)

    async def translate(
        self,
        sentence: str,
        options: DecodingOptions | None = None,
        *,
        source_language: str | None = None,
        target_language: str | None = None,
        with_scores: bool = True,
        with_doubts: bool = False,
        with_alignment: bool = False,
        terms: Mapping[str, str] | Terms | None = None,
        placeholders: PlaceholderPatterns | None = COPIED,
        reranker: Reranker | None = None,
        replace_unknowns: bool = False,
        timeout: float | None = None,
        client: Hashable = None,
        **changes: Any,
    ) -> Translation:
        """Translate one sentence, as `Translator.translate_batch` does, in a batch with others that
        are asked for at the same time.

        Args:
            timeout: seconds from now after which the best so far is returned; such a sentence has a
                batch of its own
            client: on whose behalf: clients take turns, so that one with many sentences does not
                keep others waiting; those who give none are one

        Raises:
            ValueError, TypeError: an argument of this call is wrong, or the translator is closed
            CancelledError: `Translator.cancel` was called while it was translated
            TranslationError: there is too little memory, or a graph failed
            asyncio.CancelledError: the task was cancelled
        """
        import asyncio

        translator = self.translator
        deadline = None if timeout is None else time.monotonic() + checked_timeout(timeout)
        translator.sessions.check_open()
        options = (options or translator.options).changed(**changes)
        options.check_vocabulary(translator.config.architecture.target_vocab_size)
        required = required_phrases(terms, placeholders) or RequiredPhrases()
        key = BatchKey(
            options=options,
            source_language=source_language,
            target_language=target_language,
            with_scores=with_scores,
            with_doubts=with_doubts,
            with_alignment=with_alignment,
            terms=required.terms,
            placeholders=required.placeholders,
            required=(
                None if required.terms is None else required.terms.digest,
                None if required.placeholders is None else required.placeholders.digest,
            ),
            reranker=reranker,
            replace_unknowns=replace_unknowns,
            deadline=deadline,
        )
        length = translator.source_length(
            sentence, source_language=source_language, target_language=target_language
        )
        size = max(1, length) * beams(options)
        future = self._queue.submit(sentence, group=key, size=size, client=client)
        return await asyncio.wrap_future(future)

    def _translate(self, key: BatchKey, sentences: list[str]) -> list[Translation]:
        timeout = None
        if key.deadline is not None:
            timeout = max(_LEAST_TIME, key.deadline - time.monotonic())
        return self.translator.translate_batch(
            sentences,
            key.options,
            source_language=key.source_language,
            target_language=key.target_language,
            with_scores=key.with_scores,
            with_doubts=key.with_doubts,
            with_alignment=key.with_alignment,
            terms=key.terms,
            placeholders=key.placeholders,
            reranker=key.reranker,
            replace_unknowns=key.replace_unknowns,
            timeout=timeout,
        )

    def stream(
        self, sentence: str, options: DecodingOptions | None = None, **arguments: Any
    ) -> AsyncGenerator[str, None]:
        """The translation of one sentence in pieces; see `Translator.stream`.

        Leaving the loop, `aclose()` and a cancelled task end the work within a step.

        Raises:
            ValueError, TypeError: an argument is wrong, or the translator is closed
            CancelledError, TranslationError: from the iterator, as `Translator.stream`
        """
        if self._closed.is_set():
            raise ValueError("this translator is closed")
        left = threading.Event()
        pieces = self.translator.stream(
            sentence, options, stop=lambda: left.is_set() or self._closed.is_set(), **arguments
        )
        return self._read(pieces, left)

    async def _read(self, pieces: Any, left: threading.Event) -> AsyncGenerator[str, None]:
        import asyncio  # here, because it is large and many need it not

        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[str | BaseException | None] = asyncio.Queue()

        def post(piece: str | BaseException | None) -> None:
            try:
                loop.call_soon_threadsafe(arrived.put_nowait, piece)
            except RuntimeError:  # the loop has ended, and nobody reads any more
                left.set()

        def work() -> None:
            try:
                for piece in pieces:
                    post(piece)
                post(None)
            except BaseException as error:  # else its reader would wait for ever
                post(error)
            finally:
                self._streams.pop(thread, None)

        thread = threading.Thread(target=work, name="tfm stream", daemon=True)
        self._streams[thread] = os.getpid()
        try:
            thread.start()
        except BaseException:
            self._streams.pop(thread, None)
            left.set()
            raise
        try:
            while (piece := await arrived.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            left.set()

    def close(self) -> None:
        """Refuse what waits, finish the batch that runs, and end all streams: no thread is left."""
        self._closed.set()
        self._queue.close()
        for thread, process in list(self._streams.items()):
            if process == os.getpid() and thread is not threading.current_thread():
                thread.join()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        import asyncio

        await asyncio.to_thread(self.close)


class AsyncCalls(BatchTranslator):
    """What a Translator offers to asyncio."""

    @cached_property
    def asynchronous(self) -> AsyncTranslator:
        """Whom translate_async and stream_async ask, with the limits by default."""
        return AsyncTranslator(self)

    async def translate_async(
        self, sentence: str, options: DecodingOptions | None = None, **how: Any
    ) -> Translation:
        """`translate`, in a batch with what others await: see AsyncTranslator.translate."""
        return await self.asynchronous.translate(sentence, options, **how)

    def stream_async(
        self, sentence: str, options: DecodingOptions | None = None, **how: Any
    ) -> AsyncGenerator[str, None]:
        """`stream` for `async for`: see AsyncTranslator.stream."""
        return self.asynchronous.stream(sentence, options, **how)

    def close_asynchronous(self) -> None:
        """Refuse what waits, and end the threads."""
        if "asynchronous" in self.__dict__:
            self.asynchronous.close()
