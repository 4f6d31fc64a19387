"""Rules on logits, each against the rule for one token as the oracle has it."""

from typing import Any

import numpy as np
import pytest
from helpers.scalar_search import UNK_ID, is_forbidden
from helpers.search_cases import text_of
from hypothesis import given
from hypothesis import strategies as st

from tfm.runtime.options import DecodingOptions, declared_options
from tfm.runtime.processors import PROCESSORS, SearchContext, processors_for
from tfm.runtime.token_texts import TokenTexts

EOS, VOCAB_SIZE = 3, 9
FORBIDDING: list[dict[str, Any]] = [
    {"min_length": 1},
    {"min_length": 4},
    {"suppress_ids": (0, 8)},
    {"suppress_texts": (text_of(8), text_of(4, 5), text_of(6, 6, 5))},
    {"suppress_unk": True},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 3},
]


@st.composite
def steps(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Logits [B, K, V] and sequences [B, K, T] of few different tokens, so that they repeat."""
    batch, beams, length = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(0, 9))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    logits = rng.normal(size=(batch, beams, VOCAB_SIZE)).astype(np.float32)
    return logits, rng.integers(4, 7, (batch, beams, length))


def context_of(prefix_length: int) -> SearchContext:
    token_texts = TokenTexts([text_of(token_id).encode() for token_id in range(VOCAB_SIZE)])
    return SearchContext(EOS, prefix_length, UNK_ID, lambda: token_texts)


@pytest.mark.parametrize("changes", FORBIDDING, ids=str)
@given(step=steps(), prefix_length=st.integers(0, 2))
def test_what_is_forbidden_is_impossible_and_the_rest_stays(
    changes: dict[str, Any], step: tuple[Any, Any], prefix_length: int
) -> None:
    logits, sequences = step
    prefix_length = min(prefix_length, sequences.shape[2])
    options = DecodingOptions(**changes)
    (process,) = processors_for(options, context_of(prefix_length))
    processed = process(logits.copy(), sequences)
    for place in np.ndindex(logits.shape):
        tokens = tuple(sequences[place[:2]].tolist())
        forbidden = is_forbidden(place[2], tokens, options, EOS, prefix_length)
        assert processed[place] == (-np.inf if forbidden else logits[place])


@given(step=steps(), penalty=st.sampled_from([0.5, 1.5, 4.0]))
def test_the_repetition_penalty_is_of_tokens_that_were_written(
    step: tuple[Any, Any], penalty: float
) -> None:
    logits, sequences = step
    (process,) = processors_for(DecodingOptions(repetition_penalty=penalty), SearchContext(EOS, 0))
    processed = process(logits.copy(), sequences)
    for place in np.ndindex(logits.shape):
        logit = logits[place]
        if place[2] in sequences[place[:2]]:
            logit = logit * np.float32(penalty) if logit < 0 else logit / np.float32(penalty)
        assert processed[place] == logit


def test_neutral_options_need_no_rule() -> None:
    assert processors_for(DecodingOptions(), SearchContext(EOS, 0)) == []


def test_every_processor_that_an_option_names_exists() -> None:
    named = {spec.processor for _, _, spec in declared_options() if spec.processor}
    assert named == PROCESSORS.keys()
