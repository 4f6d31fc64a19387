"""Ids in, ids out: which way to search, in which batches, on which threads."""

import logging
import math
import time
from collections.abc import Generator, Sequence

from .batching import side_by_side
from .cancellation import Cancellation
from .config import ModelConfig
from .decode import beams, decode_steps
from .errors import TranslationError
from .graph_session import NOT_ENOUGH_MEMORY
from .options import DecodingOptions
from .route import Route, choose_route, suits_greedy
from .search import ScoredIds, Unfinished, finish
from .sessions import Sessions

logger = logging.getLogger(__name__)

# Tokens of a batch, counted as sentences x beams x longest source: past this, batches only
# take more memory.
MAX_BATCH_TOKENS = 8192
_FOR_DEADLINE = Route(False, "step by step: a graph has no clock")


class TokenTranslator:
    """Translates token ids with the sessions of a model. Threads may share one."""

    def __init__(self, config: ModelConfig, sessions: Sessions, *, by_steps: bool) -> None:
        """by_steps: never a graph that runs the whole search."""
        self.config, self.sessions = config, sessions
        self._always_by_steps = by_steps
        self._last_route: tuple[DecodingOptions, Route] | None = None
        self._calls: set[Cancellation] = set()  # of `translate`, that run

    def translate(
        self,
        sources: Sequence[Sequence[int]],
        options: DecodingOptions,
        prefix: Sequence[int],
        *,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        with_scores: bool = True,
        deadline: float | None = None,
    ) -> list[list[ScoredIds]]:
        """The hypotheses of each source, best first.

        Args:
            sources: token ids, as the encoder reads them
            prefix: ids that every translation begins with
            max_batch_tokens: sentences x beams x longest source that run together
            with_scores: greedy.onnx is faster without them; they are NaN then
            deadline: in the seconds of time.monotonic(): the best so far are returned then, and
                say so; it takes the steps

        Raises:
            ValueError: an argument is out of its range, or the sessions are closed
            CancelledError: `cancel` was called
            TranslationError: there is too little memory, or a graph failed
        """
        if not isinstance(max_batch_tokens, int) or max_batch_tokens < 1:
            raise ValueError(
                f"max_batch_tokens is {max_batch_tokens!r}: it must be a whole number, at least 1"
            )
        self.sessions.check_open()  # whether there is anything to translate or not
        options.check_vocabulary(self.config.architecture.target_vocab_size)
        route = self.route(options) if deadline is None else _FOR_DEADLINE
        workers = self.sessions.workers
        threads = workers.available()
        call = Cancellation()
        lengths = [len(ids) for ids in sources]
        work = side_by_side(lengths, max_batch_tokens, beams(options), threads)

        def search_batch(indices: list[int]) -> list[list[ScoredIds]]:
            batch = [sources[index] for index in indices]
            try:
                if not route.by_graph:
                    return self._by_steps(batch, options, prefix, call, deadline)
                return self.sessions.translate(
                    batch,
                    options,
                    prefix,
                    graph=route.graph,
                    with_scores=with_scores,
                    cancellation=call,
                )
            except MemoryError as error:
                raise TranslationError(NOT_ENOUGH_MEMORY) from error

        results: list[list[ScoredIds]] = [[] for _ in sources]
        self._calls.add(call)
        try:
            found = workers.map(search_batch, work, threads)
        finally:
            self._calls.discard(call)
        for indices, hypotheses_by_row in zip(work, found, strict=True):
            for index, hypotheses in zip(indices, hypotheses_by_row, strict=True):
                results[index] = hypotheses
        return results

    def steps(
        self, source: Sequence[int], options: DecodingOptions, prefix: Sequence[int]
    ) -> Generator[Unfinished, None, list[list[ScoredIds]]]:
        """`translate` for one source, step by step: yields how far a search is.

        Raises:
            ValueError: the sessions are closed
            CancelledError: `cancel` was called
            TranslationError: there is too little memory, or a graph failed
        """
        options.check_vocabulary(self.config.architecture.target_vocab_size)
        call = Cancellation()
        self._calls.add(call)
        try:
            return (yield from self._steps([source], options, prefix, call))
        except MemoryError as error:
            raise TranslationError(NOT_ENOUGH_MEMORY) from error
        finally:
            self._calls.discard(call)

    def cancel(self) -> None:
        """Stop what runs now: its callers get a CancelledError."""
        for call in tuple(self._calls):
            call.cancel()

    def route(self, options: DecodingOptions) -> Route:
        """Graph or steps for these options; logged when it changes."""
        last = self._last_route
        if last is not None and last[0] == options:
            return last[1]
        device = self.sessions.choice.device
        if self._always_by_steps:
            route = Route(False, "step by step: asked for")
        else:
            greedy = self.sessions.has_greedy
            # Asking for the options of translate.onnx loads it.
            asks = device == "cpu" and not (greedy and suits_greedy(options))
            offered = self.sessions.graph_options if asks else ()
            route = choose_route(options, device, offered, has_greedy=greedy)
        if last is None or route != last[1]:
            logger.info("%s", route.reason)
        self._last_route = (options, route)
        return route

    def _by_steps(
        self,
        sources: Sequence[Sequence[int]],
        options: DecodingOptions,
        prefix: Sequence[int],
        call: Cancellation,
        deadline: float | None,
    ) -> list[list[ScoredIds]]:
        if deadline is not None and time.monotonic() >= deadline:
            return [[ScoredIds((), math.nan, timed_out=True)] for _ in sources]
        return finish(self._steps(sources, options, prefix, call), deadline)

    def _steps(
        self,
        sources: Sequence[Sequence[int]],
        options: DecodingOptions,
        prefix: Sequence[int],
        call: Cancellation,
    ) -> Generator[Unfinished, None, list[list[ScoredIds]]]:
        special_ids = self.config.special_ids
        return decode_steps(
            self.sessions.encode(sources, beams(options), call),
            sources,
            options,
            bos_id=special_ids.bos_id,
            eos_id=special_ids.eos_id,
            target_prefix=prefix,
        )
