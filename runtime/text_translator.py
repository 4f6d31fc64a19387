"""Texts in, translations out: tokenize, search, and put hypotheses into words.

What `Translator` offers is carried out here, in terms of the three things that it has loaded.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

from .config import ModelConfig
from .doubts import find_doubts
from .options import DecodingOptions
from .pair_scorer import PairScorer
from .phrase_constraints import ForcedPhrase, WordEdges
from .required_phrases import RequiredPhrases
from .scripts import warn_of_other_script
from .search import ScoredIds
from .streaming import settled_text
from .token_translator import MAX_BATCH_TOKENS, TokenTranslator
from .tokenizer import Tokenizer
from .translation import Hypothesis, Translation

logger = logging.getLogger(__name__)


class TextTranslator:
    """Translates texts that are checked already. Threads may share one.

    The arguments that its methods share are those of `Translator.translate_batch`.
    """

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: Tokenizer,
        tokens: TokenTranslator,
        pairs: PairScorer,
    ) -> None:
        """tokens and pairs are over the sessions of the same model."""
        self._config, self._tokenizer = config, tokenizer
        self._tokens, self._pairs = tokens, pairs

    def translate(
        self,
        sentences: Sequence[str],
        options: DecodingOptions,
        *,
        source_language: str | None = None,
        target_language: str | None = None,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        with_scores: bool = True,
        with_doubts: bool = False,
        with_alignment: bool = False,
        required: RequiredPhrases | None = None,
        deadline: float | None = None,
    ) -> list[Translation]:
        """One Translation for each sentence, in the order given.

        Args:
            required: what the translations must contain
            deadline: in the seconds of time.monotonic(), after which the best so far is returned
        """
        if required is not None and required.terms is not None and options.temperature:
            raise ValueError("terms are searched for, not drawn at random: set temperature to 0")
        languages = self._config.languages
        source_tokens, target_tokens = languages.prefixes(source_language, target_language)
        target = target_language or languages.target
        warn_of_other_script(sentences, source_language or languages.source, target)
        sources = self._tokenizer.encode(sentences, source_tokens)
        indices = [index for index, ids in enumerate(sources) if ids]
        prefix = self._tokenizer.encode_target_prefix(options.target_prefix)
        hypotheses = self._tokens.translate(
            [sources[index] for index in indices],
            options,
            [*target_tokens, *prefix],
            max_batch_tokens=max_batch_tokens,
            with_scores=with_scores or with_doubts,
            deadline=deadline,
        )
        found = [[Hypothesis("", 0.0, ())] for _ in sentences]
        for index, scored in zip(indices, hypotheses, strict=True):
            found[index] = self._with_text(scored, prefix, options.max_length)
        if required is not None and not options.temperature:
            self._search_with_phrases(
                sentences,
                sources,
                found,
                required,
                options,
                target_tokens,
                max_batch_tokens=max_batch_tokens,
                deadline=deadline,
            )
        _warn_of_truncated(found, options.max_length)
        translations = [
            Translation(sentence, tuple(hypotheses))
            for sentence, hypotheses in zip(sentences, found, strict=True)
        ]
        languages_of_call = source_language, target_language
        if required is not None:
            translations = self._with_required(translations, required, languages_of_call)
        if with_alignment:
            translations = self._aligned(translations, languages_of_call)
        if not with_doubts:
            return translations
        return [
            replace(translation, doubts=find_doubts(translation, len(ids), target, options))
            for translation, ids in zip(translations, sources, strict=True)
        ]

    def stream(
        self,
        sentence: str,
        options: DecodingOptions,
        *,
        source_language: str | None = None,
        target_language: str | None = None,
    ) -> Iterator[str]:
        """The translation of one sentence in pieces, as they settle."""
        source_tokens, target_tokens = self._config.languages.prefixes(
            source_language, target_language
        )
        (source,) = self._tokenizer.encode([sentence], source_tokens)
        own_prefix = self._tokenizer.encode_target_prefix(options.target_prefix)
        if not source:
            return iter(())
        steps = self._tokens.steps(source, options, [*target_tokens, *own_prefix])
        return settled_text(steps, own_prefix, lambda ids: self._tokenizer.decode([ids])[0])

    def translate_ids(
        self,
        sources: Sequence[Sequence[int]],
        options: DecodingOptions,
        *,
        target_language: str | None = None,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        with_scores: bool = True,
    ) -> list[list[ScoredIds]]:
        """The hypotheses of each source, in ids."""
        _, target_tokens = self._config.languages.prefixes(target=target_language)
        prefix = self._tokenizer.encode_target_prefix(options.target_prefix)
        return self._tokens.translate(
            sources,
            options,
            [*target_tokens, *prefix],
            max_batch_tokens=max_batch_tokens,
            with_scores=with_scores,
        )

    def _search_with_phrases(
        self,
        sentences: Sequence[str],
        sources: Sequence[Sequence[int]],
        found: list[list[Hypothesis]],
        required: RequiredPhrases,
        options: DecodingOptions,
        target_tokens: Sequence[int],
        *,
        max_batch_tokens: int,
        deadline: float | None,
    ) -> None:
        """Search again for the translations that lack a phrase, and put them into `found`.

        A translation that has all phrases anyway is the best there is.
        """
        phrases: dict[int, list[ForcedPhrase]] = {}
        for index, (sentence, hypotheses) in enumerate(zip(sentences, found, strict=True)):
            if sources[index] and any(required.lacking(sentence, h.text) for h in hypotheses):
                spelled = [(p, self._tokenizer.spellings(p)) for p in required.required(sentence)]
                phrases[index] = [ForcedPhrase(p, ids) for p, ids in spelled if ids]
        again = [index for index, own in phrases.items() if own]
        if not again:
            return
        prefix = self._tokenizer.encode_target_prefix(options.target_prefix)
        hypotheses_by_row = self._tokens.translate_with_phrases(
            [sources[index] for index in again],
            [phrases[index] for index in again],
            self._edges,
            options,
            [*target_tokens, *prefix],
            max_batch_tokens=max_batch_tokens,
            deadline=deadline,
        )
        for index, scored in zip(again, hypotheses_by_row, strict=True):
            made = self._with_text(scored, prefix, options.max_length)
            lost_before = len(required.lacking(sentences[index], found[index][0].text))
            # Of a search that was cut off, what it had may be worse than what was there.
            if len(required.lacking(sentences[index], made[0].text)) <= lost_before:
                found[index] = made

    @cached_property
    def _edges(self) -> WordEdges:
        return WordEdges.of(self._tokenizer.target_names())

    def _with_required(
        self,
        translations: Sequence[Translation],
        required: RequiredPhrases,
        languages: tuple[str | None, str | None],
    ) -> list[Translation]:
        """The translations with all of their placeholders, and with what they still lack."""
        results = list(translations)
        patterns = required.placeholders
        if patterns is not None:
            places = [
                (index, rank)
                for index, translation in enumerate(translations)
                for rank, hypothesis in enumerate(translation.hypotheses)
                if not patterns.are_kept(translation.source, hypothesis.text)
            ]
            chosen = [translations[index].hypotheses[rank] for index, rank in places]
            alignments = self._pairs.align(
                [translations[index].source for index, _ in places],
                [hypothesis.text for hypothesis in chosen],
                [hypothesis.tokens for hypothesis in chosen],
                source_language=languages[0],
                target_language=languages[1],
            )
            for (index, rank), alignment in zip(places, alignments, strict=True):
                hypotheses = list(results[index].hypotheses)
                text = patterns.restore(alignment)
                (ids,) = self._tokenizer.encode_target([text])
                hypotheses[rank] = replace(hypotheses[rank], text=text, tokens=tuple(ids))
                results[index] = replace(results[index], hypotheses=tuple(hypotheses))
        return [
            replace(result, unmet=required.lacking(result.source, result.text))
            for result in results
        ]

    def _aligned(
        self, translations: Sequence[Translation], languages: tuple[str | None, str | None]
    ) -> list[Translation]:
        """The translations with the alignments of their best hypotheses."""
        alignments = self._pairs.align(
            [translation.source for translation in translations],
            [translation.text for translation in translations],
            [translation.hypotheses[0].tokens for translation in translations],
            source_language=languages[0],
            target_language=languages[1],
        )
        return [
            replace(translation, alignment=alignment)
            for translation, alignment in zip(translations, alignments, strict=True)
        ]

    def _with_text(
        self, hypotheses: list[ScoredIds], prefix: list[int], max_length: int
    ) -> list[Hypothesis]:
        tokens = [(*prefix, *hypothesis.ids) for hypothesis in hypotheses]
        texts = self._tokenizer.decode(tokens)
        return [
            # A hypothesis that ends with EOS has fewer tokens: the rule "max_length" of search.py.
            Hypothesis(
                text,
                hypothesis.score,
                ids,
                truncated=len(hypothesis.ids) >= max_length,
                timed_out=hypothesis.timed_out,
            )
            for text, hypothesis, ids in zip(texts, hypotheses, tokens, strict=True)
        ]


def _warn_of_truncated(found: Sequence[Sequence[Hypothesis]], max_length: int) -> None:
    truncated = sum(hypotheses[0].truncated for hypotheses in found)
    if truncated:
        logger.warning(
            "%d of %d translations stopped at %d tokens, so their ends may be missing: split"
            " long lines into sentences, or raise max_length",
            truncated,
            len(found),
            max_length,
        )
