"""The best of several translations, by what both directions think of them.

A hypothesis counts (1 - weight) times its own score, and weight times the mean log-probability of
the source's tokens given the hypothesis, by a model of the reverse direction (noisy-channel
reranking, Yee et al. 2019). What leaves out or invents something is hard to translate back.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from .config import ModelConfig
from .pair_scorer import LongTargetError, Score
from .translation import Translation

DEFAULT_WEIGHT = 0.25  # 0.2 and 0.3 gained as much on dev.tsv, 0.1 and 0.5 less


class ReverseModel(Protocol):
    """What of a `Translator` of the reverse direction is needed."""

    @property
    def config(self) -> ModelConfig:
        """Its config.json."""

    @property
    def fingerprint(self) -> str:
        """What tells it from other models."""

    def score_batch(
        self,
        sources: Sequence[str],
        targets: Sequence[str],
        *,
        source_language: str | None,
        target_language: str | None,
    ) -> list[Score]:
        """Score `targets` as translations of `sources`."""


class Reranker:
    """Orders hypotheses with the help of a translator of the reverse direction."""

    def __init__(self, reverse: ReverseModel, weight: float = DEFAULT_WEIGHT) -> None:
        """reverse: from the target language to the source's; weight: of its opinion, 0 to 1.

        Raises:
            ValueError: the weight is out of its range
        """
        if not isinstance(weight, (int, float)) or not 0 <= weight <= 1:
            raise ValueError(f"the weight is {weight!r}: it must be a number from 0 to 1")
        self._reverse, self._weight = reverse, float(weight)

    @property
    def digest(self) -> str:
        """What tells it from another one."""
        return f"{self._reverse.fingerprint} {self._weight:g}"

    def check(self, source: str, target: str) -> None:
        """Raise ValueError unless the reverse model translates from `target` to `source`."""
        languages = self._reverse.config.languages
        try:
            languages.prefixes(target, source)
        except ValueError as error:
            raise ValueError(
                f"{self._reverse.config.name} does not translate from {target} to {source}: it"
                f" cannot rerank translations from {source} to {target}"
            ) from error

    def rerank(
        self,
        translations: Sequence[Translation],
        source: str,
        target: str,
        read: Sequence[str] | None = None,
    ) -> list[Translation]:
        """The translations, each with its hypotheses in the order of both models.

        The hypotheses keep their scores. Those without a finite score, of an empty source, or of
        one that is too long for the reverse model, stay in their order.

        Args:
            source: the language of the sentences
            target: that of the hypotheses
            read: what was translated of each sentence; None is all

        Raises:
            ModelError: the reverse model has no score.onnx
        """
        sentences = [translation.source for translation in translations] if read is None else read
        pairs = [
            (hypothesis.text, sentence)
            for translation, sentence in zip(translations, sentences, strict=True)
            for hypothesis in translation.hypotheses
            if len(translation.hypotheses) > 1
        ]
        scored = iter(self._means(pairs, source, target))
        reranked = []
        for translation in translations:
            hypotheses = translation.hypotheses
            if len(hypotheses) > 1:
                means = [next(scored) for _ in hypotheses]
                values = [
                    self._value(hypothesis.score, mean)
                    for hypothesis, mean in zip(hypotheses, means, strict=True)
                ]
                order = sorted(range(len(values)), key=lambda index: -values[index])
                hypotheses = tuple(hypotheses[index] for index in order)
            reranked.append(replace(translation, hypotheses=hypotheses))
        return reranked

    def _means(self, pairs: Sequence[tuple[str, str]], source: str, target: str) -> list[float]:
        """Of each pair of hypothesis and sentence, what a token of the sentence scores; NaN where
        it is too long."""
        means = [math.nan] * len(pairs)
        places = list(range(len(pairs)))
        try:
            scores = self._score([pairs[place] for place in places], source, target)
        except LongTargetError as error:
            places = [place for place in places if place not in error.places]
            scores = self._score([pairs[place] for place in places], source, target)
        for place, score in zip(places, scores, strict=True):
            means[place] = score.total / max(1, len(score.log_probs))
        return means

    def _score(self, pairs: Sequence[tuple[str, str]], source: str, target: str) -> list[Score]:
        return self._reverse.score_batch(
            [text for text, _ in pairs],
            [sentence for _, sentence in pairs],
            source_language=target,
            target_language=source,
        )

    def _value(self, score: float, back: float) -> float:
        """What a hypothesis is worth; an empty one, which has no way back, nothing."""
        value = (1 - self._weight) * score + self._weight * back
        return value if math.isfinite(value) else -math.inf
