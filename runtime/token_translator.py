"""Ids in, ids out: which way to search, in which batches, on which threads."""

import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from .batching import side_by_side
from .cancellation import Cancellation
from .config import ModelConfig
from .decode import TargetPrefix, beams, decode_steps
from .errors import TranslationError
from .graph_session import NOT_ENOUGH_MEMORY
from .options import DecodingOptions
from .phrase_constraints import ForcedPhrase, PhraseConstraints, WordEdges
from .route import Route, choose_route, suits_greedy
from .search import Chooser, ScoredIds, Unfinished, finish
from .sessions import Sessions
from .token_texts import TokenTexts

logger = logging.getLogger(__name__)

# Tokens of a batch, counted as sentences x beams x longest source: past this, batches only
# take more memory.
MAX_BATCH_TOKENS = 8192
# Hypotheses of a search with phrases: as many as their tokens, in steps, so that sentences with
# about as many go together.
_BEAM_STEP, _MOST_FOR_PHRASES = 4, 32
_FOR_DEADLINE = Route(False, "step by step: a graph has no clock")


class TokenTranslator:
    """Translates token ids with the sessions of a model. Threads may share one."""

    def __init__(
        self,
        config: ModelConfig,
        sessions: Sessions,
        *,
        by_steps: bool,
        token_texts: Callable[[], TokenTexts] | None = None,
    ) -> None:
        """Translate with these sessions.

        Args:
            by_steps: never a graph that runs the whole search
            token_texts: returns what target tokens say, for options about texts
        """
        self._token_texts = token_texts
        self.config, self.sessions = config, sessions
        self._always_by_steps = by_steps
        self._last_route: tuple[DecodingOptions, Route] | None = None
        self._calls: set[Cancellation] = set()  # that run

    def translate(
        self,
        sources: Sequence[Sequence[int]],
        options: DecodingOptions,
        prefix: Sequence[int],
        *,
        prefixes: Sequence[Sequence[int]] | None = None,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        with_scores: bool = True,
        deadline: float | None = None,
        call: Cancellation | None = None,
    ) -> list[list[ScoredIds]]:
        """The hypotheses of each source, best first.

        Args:
            sources: token ids, as the encoder reads them
            prefix: ids that every translation begins with
            prefixes: of each source its own in place of `prefix`, all equally long
            max_batch_tokens: sentences x beams x longest source that run together
            with_scores: greedy.onnx is faster without them; they are NaN then
            deadline: in the seconds of time.monotonic(): the best so far are returned then, and
                say so; it takes the steps
            call: of `cancellable`, by callers who do more; None is one for this search alone

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

        def search_batch(indices: list[int], call: Cancellation) -> list[list[ScoredIds]]:
            batch = [sources[index] for index in indices]
            begin = prefix if prefixes is None else [prefixes[index] for index in indices]
            simple = self._simplified(options, batch)
            route = self.route(simple) if deadline is None else _FOR_DEADLINE
            if not route.by_graph:
                return self._by_steps(batch, options, begin, call, deadline)
            return self.sessions.translate(
                batch,
                simple,
                begin,
                graph=route.graph,
                with_scores=with_scores,
                cancellation=call,
            )

        lengths = [len(ids) for ids in sources]
        return self._in_batches(lengths, max_batch_tokens, beams(options), search_batch, call)

    def _in_batches(
        self,
        lengths: Sequence[int],
        max_batch_tokens: int,
        beam_size: int,
        search_batch: Callable[[list[int], Cancellation], list[list[ScoredIds]]],
        call: Cancellation | None,
    ) -> list[list[ScoredIds]]:
        """The hypotheses of each source, whose batches run side by side.

        Args:
            search_batch: from the numbers of some sources to their hypotheses
        """
        workers = self.sessions.workers
        threads = workers.available()
        work = side_by_side(lengths, max_batch_tokens, beam_size, threads)
        results: list[list[ScoredIds]] = [[] for _ in lengths]
        with self.cancellable() if call is None else contextlib.nullcontext(call) as own:

            def search(indices: list[int]) -> list[list[ScoredIds]]:
                try:
                    return search_batch(indices, own)
                except MemoryError as error:
                    raise TranslationError(NOT_ENOUGH_MEMORY) from error

            found = workers.map(search, work, threads)
        for indices, hypotheses_by_row in zip(work, found, strict=True):
            for index, hypotheses in zip(indices, hypotheses_by_row, strict=True):
                results[index] = hypotheses
        return results

    def translate_with_phrases(
        self,
        sources: Sequence[Sequence[int]],
        phrases: Sequence[Sequence[ForcedPhrase]],
        edges: WordEdges,
        options: DecodingOptions,
        prefix: Sequence[int],
        *,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        deadline: float | None = None,
        call: Cancellation | None = None,
    ) -> list[list[ScoredIds]]:
        """`translate`, with phrases of each source that must appear in its translation. It goes
        step by step, and the beam grows to as many hypotheses as its phrases need.

        Args:
            phrases: of each source; phrase_constraints.py has their rules
            edges: of the target vocabulary

        Raises:
            CancelledError, TranslationError: as `translate`
        """
        results: list[list[ScoredIds]] = [[] for _ in sources]
        by_size: dict[int, list[int]] = {}
        for index, own in enumerate(phrases):
            needed = 1 + sum(phrase.size for phrase in own) if own else 0
            wider = min(-(-needed // _BEAM_STEP) * _BEAM_STEP, _MOST_FOR_PHRASES)
            by_size.setdefault(max(options.beam_size, wider), []).append(index)
        for beam_size, indices in by_size.items():
            own_options = options.changed(
                beam_size=beam_size, num_hypotheses=options.num_hypotheses
            )
            constraints = [phrases[index] for index in indices]

            def search_batch(
                places: list[int],
                call: Cancellation,
                own_options: DecodingOptions = own_options,
                indices: list[int] = indices,
                constraints: list[Sequence[ForcedPhrase]] = constraints,
            ) -> list[list[ScoredIds]]:
                batch = [sources[indices[place]] for place in places]
                chosen = PhraseConstraints(
                    [constraints[place] for place in places],
                    edges,
                    self.config.special_ids.eos_id,
                    [len(prefix) + own_options.length_limit(len(source)) for source in batch],
                )
                return self._by_steps(batch, own_options, prefix, call, deadline, chosen)

            lengths = [len(sources[index]) for index in indices]
            found = self._in_batches(lengths, max_batch_tokens, beam_size, search_batch, call)
            for index, hypotheses in zip(indices, found, strict=True):
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
        with self.cancellable() as call:
            try:
                return (yield from self._steps([source], options, prefix, call))
            except MemoryError as error:
                raise TranslationError(NOT_ENOUGH_MEMORY) from error

    @contextlib.contextmanager
    def cancellable(self) -> Iterator[Cancellation]:
        """What `cancel` stops until the block ends, between its searches too."""
        call = Cancellation()
        self._calls.add(call)
        try:
            yield call
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

    def _simplified(
        self, options: DecodingOptions, sources: Sequence[Sequence[int]]
    ) -> DecodingOptions:
        """Options that mean the same for these sources, in such that a graph carries out."""
        changes: dict[str, Any] = {}
        if options.suppress_unk:
            ids = (*options.suppress_ids, self.config.special_ids.unk_id)
            changes.update(suppress_unk=False, suppress_ids=ids)
        if options.max_length_factor:
            limits = {options.length_limit(len(ids)) for ids in sources}
            if len(limits) == 1:
                changes.update(max_length_factor=0.0, max_length=limits.pop())
        return dataclasses.replace(options, **changes) if changes else options

    def _by_steps(
        self,
        sources: Sequence[Sequence[int]],
        options: DecodingOptions,
        prefix: TargetPrefix,
        call: Cancellation,
        deadline: float | None,
        choose: Chooser | None = None,
    ) -> list[list[ScoredIds]]:
        if deadline is not None and time.monotonic() >= deadline:
            return [[ScoredIds((), math.nan, timed_out=True)] for _ in sources]
        return finish(self._steps(sources, options, prefix, call, choose), deadline)

    def _steps(
        self,
        sources: Sequence[Sequence[int]],
        options: DecodingOptions,
        prefix: TargetPrefix,
        call: Cancellation,
        choose: Chooser | None = None,
    ) -> Generator[Unfinished, None, list[list[ScoredIds]]]:
        special_ids = self.config.special_ids
        return decode_steps(
            self.sessions.encode(sources, beams(options), call),
            sources,
            options,
            bos_id=special_ids.bos_id,
            eos_id=special_ids.eos_id,
            unk_id=special_ids.unk_id,
            token_texts=self._token_texts,
            target_prefix=prefix,
            choose=choose,
        )
