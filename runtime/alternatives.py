"""What else could come at a place of a translation: the best next tokens, each completed.

The rules, beside those of search.py:

expansion
    After the target prefix the `count` most probable tokens are taken, after the rules on logits.
    EOS is none of them: at least one token follows the prefix.
completion
    Each of them is one more token of the target prefix of a search (or of sampling) of its own,
    whose best hypothesis is the alternative. max_length and min_length count the token.
score
    The sum of the log-probabilities of the token and of what follows, by the rule "score".

The tokens are those of CTranslate2's `return_alternatives`; its scores differ, because there only
what follows the token is normalized by length.
"""

import math
import numbers
from collections.abc import Sequence
from typing import NamedTuple

from .options import DecodingOptions
from .token_translator import TokenTranslator


class AlternativeIds(NamedTuple):
    """An alternative in token ids, without BOS, target prefix and EOS.

    Attributes:
        probability: of the first of its tokens
    """

    ids: tuple[int, ...]
    score: float
    probability: float


def find_alternatives(
    translator: TokenTranslator,
    source: Sequence[int],
    options: DecodingOptions,
    prefix: Sequence[int],
    count: int,
    min_probability: float = 0.0,
) -> list[AlternativeIds]:
    """The alternatives after a target prefix, the most probable next token first.

    Args:
        source: ids as the encoder reads them
        options: how each is completed
        prefix: ids of the target prefix, with a language's token where there is one
        count: how many at most
        min_probability: tokens that are less probable are left out

    Raises:
        ModelError, TranslationError, CancelledError: as TokenTranslator.translate
    """
    limit = options.length_limit(len(source))
    one_more = options.changed(
        beam_size=count,
        num_hypotheses=count,
        length_penalty=0.0,
        max_length=1,
        min_length=1,
        max_length_factor=0.0,
        temperature=0.0,
    )
    with translator.cancellable() as call:
        (expansion,) = translator.translate([source], one_more, prefix, call=call)
        begun = [(h.ids, h.score) for h in expansion if math.exp(h.score) >= min_probability]
        if limit == 1 or not begun:
            return [_alternative(i, (), 0.0, log_p, prefix, limit, options) for i, log_p in begun]

        rest = options.changed(
            num_hypotheses=1,
            max_length=limit - 1,
            min_length=max(0, options.min_length - 1),
            max_length_factor=0.0,
        )
        prefixes = [[*prefix, *ids] for ids, _ in begun]
        completed = translator.translate(
            [source] * len(begun), rest, (), prefixes=prefixes, call=call
        )
    return [
        _alternative(ids, best.ids, best.score, log_p, prefix, limit, options)
        for (ids, log_p), (best, *_) in zip(begun, completed, strict=True)
    ]


def _alternative(
    token: tuple[int, ...],
    rest: tuple[int, ...],
    score_of_rest: float,
    log_probability: float,
    prefix: Sequence[int],
    limit: int,
    options: DecodingOptions,
) -> AlternativeIds:
    ids = (*token, *rest)
    # EOS counts where there is one: not where the last token is the one that the limit allows.
    length = len(prefix) + min(len(ids) + 1, limit)
    score = score_of_rest + log_probability / length**options.length_penalty
    return AlternativeIds(ids, score, math.exp(log_probability))


def check_alternatives(count: int, min_probability: float) -> None:
    """Raise ValueError when an argument of `find_alternatives` is out of its range."""
    if isinstance(count, bool) or not isinstance(count, numbers.Integral) or count < 1:
        raise ValueError(f"count is {count!r}: it must be a whole number, at least 1")
    if (
        isinstance(min_probability, bool)
        or not isinstance(min_probability, numbers.Real)
        or not 0 <= min_probability <= 1
    ):
        raise ValueError(f"min_probability is {min_probability!r}: it must be from 0 to 1")
