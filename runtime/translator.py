"""`Translator`, the class to embed: a loaded model folder, and all that it can do."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from .alignment import Alignment
from .arguments import checked_ids, checked_options, checked_sentences, checked_timeout
from .async_translator import AsyncCalls
from .bundled import find_model
from .config import ModelConfig
from .document_calls import DocumentCalls
from .options import DecodingOptions
from .pair_scorer import PairScorer, Score
from .placeholders import COPIED, PlaceholderPatterns
from .required_phrases import required_phrases
from .reranking import Reranker
from .search import ScoredIds
from .sessions import Sessions
from .terms import Terms
from .text_translator import TextTranslator, TranslationRequest
from .token_translator import MAX_BATCH_TOKENS, TokenTranslator
from .tokenizer import Tokenizer
from .translation import Alternative, Translation
from .workers import both


class Translator(AsyncCalls, DocumentCalls):
    """A loaded model folder. Translating changes nothing in it: threads may share one.

    It can be pickled, as Dask and Spark do: the other process loads the same folder. After
    os.fork() it goes on to work in the child. `close`, or leaving a `with` block, frees the model.

    Example:
        >>> from tfm.runtime import Translator
        >>> with Translator() as translator:
        ...     translator.translate("我爱你。").text
        'I love you.'

    Attributes:
        folder: the model folder
        config: its config.json
        options: the model's own decoding options
        choice: device and variant in use, and why
        sessions: the graphs themselves, for a search of one's own
        tokenizer: text to ids and back
    """

    def __init__(
        self,
        model_folder: str | os.PathLike[str] | None = None,
        *,
        device: str = "auto",
        variant: str | None = None,
        intra_threads: int = 0,
        by_steps: bool = False,
    ) -> None:
        """Load a model.

        Args:
            model_folder: written by `tfm export`, or a bundled model: "zh-en" (None) or "en-zh"
            device: "auto", "cpu" or "cuda"
            variant: "int8", "fp32", ...; None is the best for the device
            intra_threads: threads to compute with, on a CPU each with sentences of its own, so
                that a single sentence has one; 0 is as many as pay, at most one for each core
                that this process may use and that others leave free when it is called
            by_steps: always search step by step; the translations are the same

        Raises:
            ModelError: the folder or the device cannot be used
            ValueError: an argument is out of its range
        """
        folder = find_model(model_folder)
        config = ModelConfig.load(folder)
        sessions, tokenizer = both(
            lambda: Sessions.open(
                folder, config, device=device, variant=variant, intra_threads=intra_threads
            ),
            lambda: Tokenizer(folder, config),
        )
        self._initialize(folder, config, sessions, tokenizer, by_steps)
        self._arguments |= {"device": device, "variant": variant, "intra_threads": intra_threads}

    @classmethod
    def from_sessions(
        cls,
        model_folder: Path,
        config: ModelConfig,
        sessions: Sessions,
        *,
        by_steps: bool = False,
    ) -> Self:
        """A translator over open sessions of that folder.

        Raises:
            ModelError: the vocabulary cannot be used
        """
        translator, tokenizer = cls.__new__(cls), Tokenizer(model_folder, config)
        translator._initialize(model_folder, config, sessions, tokenizer, by_steps)
        return translator

    def _initialize(
        self,
        folder: Path,
        config: ModelConfig,
        sessions: Sessions,
        tokenizer: Tokenizer,
        by_steps: bool,
    ) -> None:
        self.folder = folder
        self.config = config
        self.options = config.decoding
        self.sessions = sessions
        self.choice = sessions.choice
        self.tokenizer = tokenizer
        self._tokens = TokenTranslator(
            config, sessions, by_steps=by_steps, token_texts=tokenizer.target_texts
        )
        self._pairs = PairScorer(config, sessions, self.tokenizer)
        self._texts = TextTranslator(config, self.tokenizer, self._tokens, self._pairs)
        self._arguments: dict[str, Any] = {  # what pickling keeps
            "device": sessions.choice.device,
            "variant": sessions.choice.variant,
            "intra_threads": sessions.threads,
            "by_steps": by_steps,
        }

    def cancel(self) -> None:
        """Stop what this translator translates now, from any thread; whoever waits for it gets a
        CancelledError. It can be used afterwards."""
        self._tokens.cancel()

    def close(self) -> None:
        """Free the model, once the calls that run are over; others are a ValueError from now on."""
        self.close_asynchronous()
        self.sessions.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        choice = self.choice
        return (
            f"{type(self).__name__}({str(self.folder)!r}, device={choice.device!r},"
            f" variant={choice.variant!r}, intra_threads={self.sessions.threads})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as what it was opened with: the process that unpickles it loads the folder."""
        return partial(type(self), **self._arguments), (self.folder.absolute(),)

    @property
    def fingerprint(self) -> str:
        """Tells models and their variants apart by what they hold, not by where they lie."""
        return self.config.fingerprint(self.choice.variant)

    def translate(
        self, sentence: str, options: DecodingOptions | None = None, **how: Any
    ) -> Translation:
        """Translate one sentence; see `translate_batch`."""
        (translation,) = self.translate_batch([sentence], options, **how)
        return translation

    def stream(
        self,
        sentence: str,
        options: DecodingOptions | None = None,
        *,
        source_language: str | None = None,
        target_language: str | None = None,
        stop: Callable[[], bool] | None = None,
        **changes: Any,
    ) -> Iterator[str]:
        """The translation of one sentence in pieces, as soon as each is settled: nothing that was
        shown is taken back, and together they are `translate`'s text with placeholders=None.

        Greedy search settles each token at once, beam search what all of its hypotheses have in
        common. A sampled text comes as one piece. Where `stop`, asked before each step, is True, a
        CancelledError ends it.

        Raises:
            ValueError, TypeError, CancelledError, TranslationError: as `translate_batch`
        """
        (sentence,) = checked_sentences([sentence])
        self.sessions.check_open()
        return self._texts.stream(
            sentence,
            checked_options(options, self.options, changes),
            source_language=source_language,
            target_language=target_language,
            stop=stop,
        )

    def alternatives(
        self,
        sentence: str,
        count: int = 5,
        options: DecodingOptions | None = None,
        *,
        min_probability: float = 0.0,
        source_language: str | None = None,
        target_language: str | None = None,
        **changes: Any,
    ) -> list[Alternative]:
        """Translations of one sentence that differ in the token after target_prefix: the most
        probable tokens, best first, each completed as a search would; see alternatives.py.

        Args:
            count: how many at most; tokens that lead to the same text count once
            min_probability: tokens that are less probable are left out

        Raises:
            ValueError, TypeError, CancelledError, TranslationError: as `translate_batch`
        """
        (sentence,) = checked_sentences([sentence])
        with self.sessions.call():
            return self._texts.alternatives(
                sentence,
                count,
                checked_options(options, self.options, changes),
                min_probability=min_probability,
                source_language=source_language,
                target_language=target_language,
            )

    def source_length(self, sentence: str, **languages: str | None) -> int:
        """Tokens that the encoder reads, EOS and a language's token counted; 0 of blank text."""
        (sentence,) = checked_sentences([sentence])
        return len(self._texts.encode(sentence, self.options, **languages)[0])

    def translate_batch(
        self,
        sentences: Iterable[str],
        options: DecodingOptions | None = None,
        *,
        source_language: str | None = None,
        target_language: str | None = None,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        with_scores: bool = True,
        with_doubts: bool = False,
        with_alignment: bool = False,
        terms: Mapping[str, str] | Terms | None = None,
        placeholders: PlaceholderPatterns | None = COPIED,
        reranker: Reranker | None = None,
        replace_unknowns: bool = False,
        timeout: float | None = None,
        **changes: Any,
    ) -> list[Translation]:
        """Translate any number of sentences, in any mix of lengths.

        A blank sentence becomes one empty hypothesis with score 0, without asking the model.

        Args:
            sentences: one sentence each, such as the lines of a text; a generator, an open file
                and a pandas Series will do
            options: how to decode; None is the model's own options
            source_language: of the sentences, where the model reads several
            target_language: to translate into, where the model writes several
            max_batch_tokens: sentences x beams x longest source that run together
            with_scores: False makes greedy search faster where nobody reads the scores, which are
                NaN then
            with_doubts: look for signs that a translation is wrong: see doubts.py; one that is
                empty or repeats itself is searched for once more, with a penalty
            with_alignment: say which words come from which: see alignment.py
            terms: a glossary: target phrases by source phrase; where a source phrase is in a
                sentence, its target phrase is in the translation, letter for letter
            placeholders: what comes out as it went in: URLs, addresses, tags, variables, emoji,
                or what is given; a translation without one, or without a term, says so: `unmet`
            reranker: orders all hypotheses of the beam by the opinion of a reverse model, too
            replace_unknowns: write source words for unknown tokens, which others' models have
            timeout: seconds after which the best so far is returned, with `timed_out` where the
                search was not at its end; it goes step by step, which takes somewhat longer
            **changes: single options by name, such as beam_size=1; None changes nothing

        Returns:
            one Translation for each sentence, in the order given

        Raises:
            ValueError: an argument is wrong, a sentence is no text, or the translator is closed
            TypeError: there is no such option
            CancelledError: `cancel` was called
            TranslationError: there is too little memory, or a graph failed
        """
        deadline = None if timeout is None else time.monotonic() + checked_timeout(timeout)
        request = TranslationRequest(
            source_language=source_language,
            target_language=target_language,
            max_batch_tokens=max_batch_tokens,
            with_scores=with_scores,
            with_doubts=with_doubts,
            with_alignment=with_alignment,
            required=required_phrases(terms, placeholders),
            reranker=reranker,
            replace_unknowns=replace_unknowns,
            deadline=deadline,
        )
        options = checked_options(options, self.options, changes)
        with self.sessions.call():
            return self._texts.translate(checked_sentences(sentences), options, request)

    def score(self, source: str, target: str, **how: Any) -> Score:
        """What the model thinks of a translation; see `score_batch`."""
        (score,) = self.score_batch([source], [target], **how)
        return score

    def score_batch(
        self,
        sources: Iterable[str],
        targets: Iterable[str],
        *,
        source_language: str | None = None,
        target_language: str | None = None,
        with_attention: bool = False,
    ) -> list[Score]:
        """What the model thinks of translations, anyone's: log-probabilities of their tokens.

        Args:
            targets: one translation for each source
            with_attention: say what every token looks at, too: see scoring.py

        Raises:
            ValueError, TranslationError: as `translate_batch`, or the numbers of texts differ
            ModelError: the model has no score.onnx: an older tfm exported it
        """
        with self.sessions.call():
            return self._pairs.score(
                checked_sentences(sources),
                checked_sentences(targets),
                source_language=source_language,
                target_language=target_language,
                with_attention=with_attention,
            )

    def align(self, source: str, target: str, **languages: str | None) -> Alignment:
        """Which words of a translation come from which of its source; see `align_batch`."""
        (alignment,) = self.align_batch([source], [target], **languages)
        return alignment

    def align_batch(
        self,
        sources: Iterable[str],
        targets: Iterable[str],
        *,
        source_language: str | None = None,
        target_language: str | None = None,
    ) -> list[Alignment]:
        """Which words of translations, anyone's, come from which words of their sources.

        Raises:
            ValueError, TranslationError, ModelError: as `score_batch`
        """
        with self.sessions.call():
            return self._pairs.align(
                checked_sentences(sources),
                checked_sentences(targets),
                source_language=source_language,
                target_language=target_language,
            )

    def translate_ids(
        self,
        sources: Iterable[Sequence[int]],
        options: DecodingOptions | None = None,
        *,
        target_language: str | None = None,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        with_scores: bool = True,
        **changes: Any,
    ) -> list[list[ScoredIds]]:
        """`translate_batch` without the text: source ids in, target ids and scores out.

        Args:
            sources: token ids of each sentence with EOS at the end, and a language's token at
                the beginning where the model wants one, as the trainer feeds them
            with_scores: as in `translate_batch`

        Returns:
            for each sentence its hypotheses, best first; ids without BOS, target prefix and EOS

        Raises:
            ValueError: an argument is wrong, a source is empty, or the translator is closed
            TypeError: there is no such option
            CancelledError: `cancel` was called
            TranslationError: there is too little memory, or a graph failed
        """
        with self.sessions.call():
            return self._texts.translate_ids(
                checked_ids(sources, self.config.architecture.source_vocab_size),
                checked_options(options, self.options, changes),
                target_language=target_language,
                max_batch_tokens=max_batch_tokens,
                with_scores=with_scores,
            )
