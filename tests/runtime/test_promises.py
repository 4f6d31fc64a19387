"""What is promised of a translation holds with any options, texts and demands together.

A few combinations always; 2,000 of them with `pytest -m slow tests/runtime/test_promises.py`.
"""

import math
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfm.runtime import PlaceholderPatterns, Translator
from tfm.runtime.options import DecodingOptions
from tfm.runtime.placeholders import COPIED, KINDS, AskedFor
from tfm.runtime.terms import Terms, contains_phrase

LONGEST = 24
SLOWEST_S = 60  # of a call of a few sentences: what takes longer hangs
WORDS = [*"one two three hundred {x} %s <b> https://a.cn/b 😀 77 字".split(), ""]  # noqa: SIM905
SENTENCES = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
TERMS = st.dictionaries(
    st.sampled_from(["one", "two", "three", "字"]),
    st.sampled_from(["ninety", "sixty four", "one", "{x}", "字"]),
    max_size=3,
)


@st.composite
def options(draw: st.DrawFn) -> DecodingOptions:
    """Options that do not contradict each other."""
    beam_size = draw(st.integers(1, 5))
    max_length = draw(st.integers(1, LONGEST))
    chosen: dict[str, Any] = {
        "beam_size": beam_size,
        "num_hypotheses": draw(st.integers(1, beam_size)),
        "max_length": max_length,
        "min_length": draw(st.integers(0, max_length)),
        "length_penalty": draw(st.sampled_from([0.0, 0.6, 1.0, 2.0])),
        "patience": draw(st.sampled_from([0.5, 1.0, 3.0])),
        "target_prefix": draw(st.sampled_from(["", "", "one", "two three"])),
        "suppress_ids": draw(st.sampled_from([(), (5,), (5, 17, 200)])),
        "repetition_penalty": draw(st.sampled_from([1.0, 1.0, 1.3])),
        "no_repeat_ngram_size": draw(st.sampled_from([0, 0, 1, 3])),
        "max_length_factor": draw(st.sampled_from([0.0, 0.0, 1.5])),
        "suppress_texts": draw(st.sampled_from([(), (), ("hundred",), (" four", "x")])),
        "suppress_unk": draw(st.booleans()),
    }
    if draw(st.integers(0, 4)) == 0:
        chosen["temperature"] = draw(st.sampled_from([0.5, 1.0]))
        chosen["top_k"] = draw(st.sampled_from([0, 3]))
        chosen["top_p"] = draw(st.sampled_from([1.0, 0.9]))
        chosen["seed"] = draw(st.integers(0, 9))
    return DecodingOptions(**chosen)


DEMANDS = st.fixed_dictionaries(
    {},
    optional={
        "terms": TERMS,
        "placeholders": st.one_of(
            st.just(tuple(KINDS)), st.lists(st.sampled_from(list(KINDS)), max_size=3)
        ).map(PlaceholderPatterns)
        | st.none(),
        "with_doubts": st.booleans(),
        "with_alignment": st.booleans(),
        "replace_unknowns": st.booleans(),
        "with_scores": st.booleans(),
        "max_batch_tokens": st.sampled_from([1, 64, 8192]),
        "timeout": st.sampled_from([1e-6, 0.02, 60.0]),
    },
)


@pytest.fixture(scope="module")
def translators(tiny_folder: Path) -> list[Translator]:
    """By graph and by steps, and in both variants."""
    return [
        Translator(tiny_folder, variant="int8", intra_threads=1),
        Translator(tiny_folder, variant="fp32", intra_threads=1, by_steps=True),
    ]


def check(
    translator: Translator, sentences: list[str], chosen: DecodingOptions, demands: dict[str, Any]
) -> None:
    begin = time.monotonic()
    try:
        found = translator.translate_batch(sentences, chosen, **demands)
    except ValueError as error:
        assert chosen.temperature and demands.get("terms"), error
        return
    assert time.monotonic() - begin < SLOWEST_S
    terms, patterns = Terms(demands.get("terms", {})), demands.get("placeholders", COPIED)
    assert [translation.source for translation in found] == sentences
    for translation in found:
        assert 1 <= len(translation.hypotheses) <= chosen.num_hypotheses
        source = translation.source
        cut_off = any(hypothesis.timed_out for hypothesis in translation.hypotheses)
        limit = chosen.length_limit(translator.source_length(source))
        rewritten = patterns is not None or demands.get("replace_unknowns")
        for hypothesis in translation.hypotheses:
            hypothesis.text.encode("utf-8")
            assert not math.isinf(hypothesis.score)
            if not source.strip() or cut_off:
                continue
            if not rewritten:
                tokens = len(hypothesis.tokens)
                begins = len(translator.tokenizer.encode_target_prefix(chosen.target_prefix))
                assert tokens - begins <= limit
                assert tokens - begins >= chosen.min_length
                assert hypothesis.text.startswith(chosen.target_prefix)
                own = translator.tokenizer.decode([hypothesis.tokens[begins:]])[0]
                if not chosen.target_prefix:
                    assert not any(text.strip() in own for text in chosen.suppress_texts)
                assert not set(chosen.suppress_ids) & set(hypothesis.tokens[begins:])
                if translation.retried is False and chosen.no_repeat_ngram_size == 1:
                    written = hypothesis.tokens
                    assert len(set(written)) >= len(written) - begins * 2
        wanted = [term.target for term in terms.find(source)]
        for phrase in wanted:
            assert contains_phrase(translation.text, phrase) or phrase in translation.unmet
        if patterns is not None:
            asked_for = AskedFor(chosen.target_prefix, tuple(wanted))
            assert patterns.are_kept(source, translation.text, asked_for) or translation.unmet
        assert all(phrase not in translation.text.split() for phrase in translation.unmet)
        if demands.get("with_alignment"):
            assert translation.alignment is not None
            assert translation.alignment.target == translation.text


CASE = {
    "sentences": st.lists(SENTENCES, max_size=4),
    "chosen": options(),
    "demands": DEMANDS,
    "which": st.integers(0, 1),
}
QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(deadline=None, max_examples=40, suppress_health_check=QUIET)
@given(**CASE)
def test_promises_hold_together(
    translators: list[Translator],
    sentences: list[str],
    chosen: DecodingOptions,
    demands: dict[str, Any],
    which: int,
) -> None:
    check(translators[which], sentences, chosen, demands)


@pytest.mark.slow
@settings(deadline=None, max_examples=2000, suppress_health_check=QUIET)
@given(**CASE)
def test_promises_hold_in_many_combinations(
    translators: list[Translator],
    sentences: list[str],
    chosen: DecodingOptions,
    demands: dict[str, Any],
    which: int,
) -> None:
    check(translators[which], sentences, chosen, demands)
