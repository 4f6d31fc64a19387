"""What a search found, as texts."""

import logging
from collections.abc import Callable, Sequence

from .alternatives import AlternativeIds
from .options import DecodingOptions
from .search import ScoredIds
from .translation import Alternative, Hypothesis

logger = logging.getLogger(__name__)

Decode = Callable[[Sequence[Sequence[int]]], list[str]]


def hypotheses_of(
    found: Sequence[ScoredIds], prefix: Sequence[int], limit: int, decode: Decode
) -> list[Hypothesis]:
    """The hypotheses of one sentence.

    Args:
        prefix: ids of the target prefix, which are part of the text
        limit: the most tokens that the sentence may have
        decode: lists of ids to texts
    """
    tokens = [(*prefix, *hypothesis.ids) for hypothesis in found]
    return [
        # A hypothesis that ends with EOS has fewer tokens: the rule "max_length" of search.py.
        Hypothesis(
            text,
            hypothesis.score,
            ids,
            truncated=len(hypothesis.ids) >= limit,
            timed_out=hypothesis.timed_out,
        )
        for text, hypothesis, ids in zip(decode(tokens), found, tokens, strict=True)
    ]


def alternatives_of(
    found: Sequence[AlternativeIds], prefix: Sequence[int], limit: int, decode: Decode
) -> list[Alternative]:
    """The alternatives of one sentence, of those with the same text the first."""
    tokens = [(*prefix, *alternative.ids) for alternative in found]
    by_text: dict[str, Alternative] = {}
    for text, alternative, ids in zip(decode(tokens), found, tokens, strict=True):
        truncated = len(alternative.ids) >= limit
        score, probability = alternative.score, alternative.probability
        by_text.setdefault(
            text, Alternative(text, score, ids, truncated=truncated, probability=probability)
        )
    return list(by_text.values())


def warn_of_truncated(found: Sequence[Sequence[Hypothesis]], options: DecodingOptions) -> None:
    """Log how many of the best hypotheses stopped at their limit."""
    truncated = sum(best.truncated for best, *_ in found)
    if truncated:
        logger.warning(
            "%d of %d translations stopped at %s, so their ends may be missing: split long"
            " lines into sentences, or raise max_length%s",
            truncated,
            len(found),
            "their limit" if options.max_length_factor else f"{options.max_length} tokens",
            " and max_length_factor" if options.max_length_factor else "",
        )
