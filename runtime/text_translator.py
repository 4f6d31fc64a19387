"""Texts in, translations out: tokenize, search, and put hypotheses into words.

What `Translator` offers is carried out here, in terms of the three things that it has loaded.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from .alignment import Alignment
from .alternatives import check_alternatives, find_alternatives
from .cancellation import Cancellation
from .config import ModelConfig
from .doubts import find_doubts, has_failed, with_penalty
from .options import DecodingOptions
from .pair_scorer import PairScorer
from .phrase_constraints import ForcedPhrase, WordEdges
from .placeholders import AskedFor
from .required_phrases import RequiredPhrases
from .reranking import Reranker
from .results import alternatives_of, hypotheses_of, warn_of_truncated
from .scripts import warn_of_other_script
from .search import ScoredIds
from .streaming import settled_text
from .terms import Terms
from .token_translator import MAX_BATCH_TOKENS, TokenTranslator
from .tokenizer import Tokenizer
from .translation import Alternative, Hypothesis, Translation
from .unknown_words import replace_unknowns


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslationRequest:
    """What one call of `Translator.translate_batch` asks for beside the options, by its names.

    `deadline` is in the seconds of time.monotonic(): the best so far is returned then. `call` is
    what stops it, of TextTranslator's own making.
    """

    source_language: str | None = None
    target_language: str | None = None
    max_batch_tokens: int = MAX_BATCH_TOKENS
    with_scores: bool = True
    with_doubts: bool = False
    with_alignment: bool = False
    required: RequiredPhrases | None = None
    reranker: Reranker | None = None
    replace_unknowns: bool = False
    deadline: float | None = None
    call: Cancellation | None = None

    @property
    def for_pairs(self) -> dict[str, Any]:
        """What `PairScorer` is told of it."""
        return {
            "source_language": self.source_language,
            "target_language": self.target_language,
            "cancellation": self.call,
        }


class TextTranslator:
    """Translates texts that are checked already. Threads may share one."""

    def __init__(
        self, config: ModelConfig, tokenizer: Tokenizer, tokens: TokenTranslator, pairs: PairScorer
    ) -> None:
        """tokens and pairs are over the sessions of the same model."""
        self._config, self._tokenizer = config, tokenizer
        self._tokens, self._pairs = tokens, pairs

    def translate(
        self, sentences: Sequence[str], options: DecodingOptions, request: TranslationRequest
    ) -> list[Translation]:
        """One Translation for each sentence, in the order given.

        Raises:
            ValueError: an unknown language, or what cannot be asked for together
        """
        with self._tokens.cancellable() as call:
            translations = self._translate(sentences, options, replace(request, call=call))
            call.check()  # a reranker's model goes on when this one is stopped
            return translations

    def _translate(
        self, sentences: Sequence[str], options: DecodingOptions, request: TranslationRequest
    ) -> list[Translation]:
        languages = self._config.languages
        source_tokens, _ = languages.prefixes(request.source_language, request.target_language)
        source = request.source_language or languages.source
        target = request.target_language or languages.target
        required, reranker = request.required, request.reranker
        if required is not None and required.terms is not None and options.temperature:
            raise ValueError("terms are searched for, not drawn at random: set temperature to 0")
        wanted = options.num_hypotheses
        if reranker is not None:
            reranker.check(source, target)
            options = options.changed(num_hypotheses=max(wanted, options.beam_size))
        warn_of_other_script(sentences, source, target)
        sources = self._tokenizer.encode(sentences, source_tokens)
        found = self._search(sources, options, request)
        retried = self._search_again(sentences, sources, found, options, request)
        if required is not None and not options.temperature:
            # What is put back afterwards need not be searched for, which takes far longer.
            searched = RequiredPhrases(required.terms) if self._pairs.can_align else required
            self._search_with_phrases(sentences, sources, found, options, request, searched)
        warn_of_truncated(found, options)
        translations = [
            Translation(sentence, tuple(hypotheses), retried=index in retried)
            for index, (sentence, hypotheses) in enumerate(zip(sentences, found, strict=True))
        ]
        if reranker is not None:
            read = [self._pairs.part_read(*pair) for pair in zip(sentences, sources, strict=True)]
            translations = [
                replace(translation, hypotheses=translation.hypotheses[:wanted])
                for translation in reranker.rerank(translations, source, target, read)
            ]
        if request.replace_unknowns:
            translations = self._without_unknowns(translations, request)
        if required is not None:
            translations = self._with_required(translations, required, options, request)
        if request.with_alignment:
            translations = self._aligned(translations, request)
        if not request.with_doubts:
            return translations
        tokens = [translation.hypotheses[0].tokens for translation in translations]
        unattended = self._pairs.unattended(sentences, tokens, **request.for_pairs)
        return [
            replace(translation, doubts=find_doubts(translation, len(ids), target, options, share))
            for translation, ids, share in zip(translations, sources, unattended, strict=True)
        ]

    def _search(
        self,
        sources: Sequence[Sequence[int]],
        options: DecodingOptions,
        request: TranslationRequest,
    ) -> list[list[Hypothesis]]:
        """The hypotheses of each source; an empty source has an empty one."""
        indices = [index for index, ids in enumerate(sources) if ids]
        language, prefix = self._target_prefix(options, request.target_language)
        hypotheses = self._tokens.translate(
            [sources[index] for index in indices],
            options,
            [*language, *prefix],
            max_batch_tokens=request.max_batch_tokens,
            with_scores=request.with_scores or request.with_doubts or request.reranker is not None,
            deadline=request.deadline,
            call=request.call,
        )
        found = [[Hypothesis("", 0.0, ())] for _ in sources]
        for index, scored in zip(indices, hypotheses, strict=True):
            limit = options.length_limit(len(sources[index]))
            found[index] = hypotheses_of(scored, prefix, limit, self._tokenizer.decode)
        return found

    def _target_prefix(
        self, options: DecodingOptions, target_language: str | None
    ) -> tuple[list[int], list[int]]:
        """What every target begins with: a language's token, and the ids of the options' prefix."""
        _, language = self._config.languages.prefixes(target=target_language)
        return language, self._tokenizer.encode_target_prefix(options.target_prefix)

    def _search_again(
        self,
        sentences: Sequence[str],
        sources: Sequence[Sequence[int]],
        found: list[list[Hypothesis]],
        options: DecodingOptions,
        request: TranslationRequest,
    ) -> frozenset[int]:
        """With doubts, search again where the best hypothesis is empty or repeats itself.

        Returns:
            the sentences whose translations are better for it; they are in `found`
        """
        failed = [
            index
            for index, (sentence, hypotheses) in enumerate(zip(sentences, found, strict=True))
            if request.with_doubts and sources[index] and has_failed(sentence, hypotheses[0])
        ]
        if not failed:
            return frozenset()
        again = self._search([sources[index] for index in failed], with_penalty(options), request)
        better = {
            index: hypotheses
            for index, hypotheses in zip(failed, again, strict=True)
            if not has_failed(sentences[index], hypotheses[0])
        }
        for index, hypotheses in better.items():
            found[index] = hypotheses
        return frozenset(better)

    def stream(
        self,
        sentence: str,
        options: DecodingOptions,
        *,
        source_language: str | None = None,
        target_language: str | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Iterator[str]:
        """The translation of one sentence in pieces, as they settle."""
        source, language, prefix = self.encode(sentence, options, source_language, target_language)
        if not source:
            return iter(())
        steps = self._tokens.steps(source, options, [*language, *prefix])
        return settled_text(steps, prefix, lambda ids: self._tokenizer.decode([ids])[0], stop)

    def alternatives(
        self,
        sentence: str,
        count: int,
        options: DecodingOptions,
        *,
        min_probability: float = 0.0,
        source_language: str | None = None,
        target_language: str | None = None,
    ) -> list[Alternative]:
        """The alternatives after options.target_prefix, the most probable token's first."""
        check_alternatives(count, min_probability)
        source, language, prefix = self.encode(sentence, options, source_language, target_language)
        if not source:
            return []
        found = find_alternatives(
            self._tokens, source, options, [*language, *prefix], count, min_probability
        )
        limit = options.length_limit(len(source))
        return alternatives_of(found, prefix, limit, self._tokenizer.decode)

    def encode(
        self,
        sentence: str,
        options: DecodingOptions,
        source_language: str | None = None,
        target_language: str | None = None,
    ) -> tuple[list[int], list[int], list[int]]:
        """Ids of a sentence as the encoder reads it ([] without anything to translate), of the
        token of the language to write, and of options.target_prefix.

        Raises:
            ValueError: the model has no such language
        """
        source_tokens, language = self._config.languages.prefixes(source_language, target_language)
        (source,) = self._tokenizer.encode([sentence], source_tokens)
        return source, language, self._tokenizer.encode_target_prefix(options.target_prefix)

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
        language, prefix = self._target_prefix(options, target_language)
        return self._tokens.translate(
            sources,
            options,
            [*language, *prefix],
            max_batch_tokens=max_batch_tokens,
            with_scores=with_scores,
        )

    def _search_with_phrases(
        self,
        sentences: Sequence[str],
        sources: Sequence[Sequence[int]],
        found: list[list[Hypothesis]],
        options: DecodingOptions,
        request: TranslationRequest,
        required: RequiredPhrases,
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
        language, prefix = self._target_prefix(options, request.target_language)
        hypotheses_by_row = self._tokens.translate_with_phrases(
            [sources[index] for index in again],
            [phrases[index] for index in again],
            self._edges,
            options,
            [*language, *prefix],
            max_batch_tokens=request.max_batch_tokens,
            deadline=request.deadline,
            call=request.call,
        )
        for index, scored in zip(again, hypotheses_by_row, strict=True):
            limit = options.length_limit(len(sources[index]))
            made = hypotheses_of(scored, prefix, limit, self._tokenizer.decode)
            lost_before = len(required.lacking(sentences[index], found[index][0].text))
            # Of a search that was cut off, what it had may be worse than what was there.
            if len(required.lacking(sentences[index], made[0].text)) <= lost_before:
                found[index] = made

    @cached_property
    def _edges(self) -> WordEdges:
        return WordEdges.of(self._tokenizer.target_names())

    def _without_unknowns(
        self, translations: Sequence[Translation], request: TranslationRequest
    ) -> list[Translation]:
        """The translations with source words in the place of unknown tokens."""
        unk_id = self._config.special_ids.unk_id
        return self._rewritten(
            translations,
            request,
            lambda _, hypothesis: unk_id in hypothesis.tokens,
            lambda alignment, hypothesis: replace_unknowns(alignment, hypothesis.tokens, unk_id),
        )

    def _with_required(
        self,
        translations: Sequence[Translation],
        required: RequiredPhrases,
        options: DecodingOptions,
        request: TranslationRequest,
    ) -> list[Translation]:
        """The translations with all of their placeholders, and with what they still lack."""
        patterns = required.placeholders
        if patterns is not None and self._pairs.can_align:
            # As it is written: its tokens may say it with other spaces than the options do.
            prefix = self._tokenizer.encode_target_prefix(options.target_prefix)
            (written,) = self._tokenizer.decode([prefix]) if prefix else ("",)
            terms = required.terms or Terms({})

            def asked_for(source: str) -> AskedFor:
                return AskedFor(written, tuple(term.target for term in terms.find(source)))

            translations = self._rewritten(
                translations,
                request,
                lambda source, h: not patterns.are_kept(source, h.text, asked_for(source)),
                lambda alignment, _: patterns.restore(alignment, asked_for(alignment.source)),
            )
        return [
            replace(result, unmet=required.lacking(result.source, result.text))
            for result in translations
        ]

    def _rewritten(
        self,
        translations: Sequence[Translation],
        request: TranslationRequest,
        is_due: Callable[[str, Hypothesis], bool],
        rewrite: Callable[[Alignment, Hypothesis], str],
    ) -> list[Translation]:
        """The translations, some of whose hypotheses get another text.

        Args:
            is_due: whether a hypothesis of a source gets one
            rewrite: from the alignment of such a hypothesis to its text
        """
        results = list(translations)
        places = [
            (index, rank)
            for index, translation in enumerate(translations)
            for rank, hypothesis in enumerate(translation.hypotheses)
            if is_due(translation.source, hypothesis)
        ]
        if not places:
            return results
        chosen = [translations[index].hypotheses[rank] for index, rank in places]
        alignments = self._pairs.align(
            [translations[index].source for index, _ in places],
            [hypothesis.text for hypothesis in chosen],
            [hypothesis.tokens for hypothesis in chosen],
            **request.for_pairs,
        )
        texts = [rewrite(*pair) for pair in zip(alignments, chosen, strict=True)]
        ids = self._tokenizer.encode_target(texts)
        for (index, rank), text, tokens in zip(places, texts, ids, strict=True):
            hypotheses = list(results[index].hypotheses)
            hypotheses[rank] = replace(hypotheses[rank], text=text, tokens=tuple(tokens))
            results[index] = replace(results[index], hypotheses=tuple(hypotheses))
        return results

    def _aligned(
        self, translations: Sequence[Translation], request: TranslationRequest
    ) -> list[Translation]:
        """The translations with the alignments of their best hypotheses."""
        sources = [translation.source for translation in translations]
        texts = [translation.text for translation in translations]
        tokens = [translation.hypotheses[0].tokens for translation in translations]
        alignments = self._pairs.align(sources, texts, tokens, **request.for_pairs)
        return [
            replace(t, alignment=found) for t, found in zip(translations, alignments, strict=True)
        ]
