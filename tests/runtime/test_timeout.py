"""A limit of time: the best so far, and what says so."""

import math
import time

import pytest

from tfm.runtime import Translator, search, token_translator
from tfm.runtime.commands.interrupts import run_cancellable

SENTENCES = ["我爱你。", "今天天气很好，我们明天去北京。", "他每天早上六点起床。"]


class Clock:
    """Seconds that pass with every look at them."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator(intra_threads=1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (search, token_translator):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr("tfm.runtime.translator.time", clock)
    return clock


@pytest.mark.parametrize("options", [{}, {"beam_size": 1}, {"temperature": 1.0}])
def test_time_enough_changes_nothing(translator: Translator, options: dict[str, float]) -> None:
    expected = translator.translate_batch(SENTENCES, **options)
    found = translator.translate_batch(SENTENCES, timeout=1e6, **options)
    assert [t.text for t in found] == [t.text for t in expected]
    assert not any(h.timed_out for t in found for h in t.hypotheses)


@pytest.mark.parametrize("options", [{"beam_size": 1}, {"temperature": 1.0}])
def test_the_best_so_far_is_the_beginning(
    translator: Translator, clock: Clock, options: dict[str, float]
) -> None:
    """The clock is looked at once at the beginning, once per batch and once per step."""
    (whole,) = translator.translate_batch(SENTENCES[1:2], **options)
    for steps in (1, 3, 5):
        clock.now = 0
        (translation,) = translator.translate_batch(SENTENCES[1:2], timeout=steps + 1, **options)
        (hypothesis,) = translation.hypotheses
        assert hypothesis.timed_out
        assert hypothesis.tokens == whole.hypotheses[0].tokens[:steps]
        assert whole.text.startswith(hypothesis.text)


def test_beams_give_what_is_finished_or_else_the_best_beam(
    translator: Translator, clock: Clock
) -> None:
    (translation,) = translator.translate_batch(SENTENCES[:1], timeout=2, num_hypotheses=4)
    assert all(h.timed_out for h in translation.hypotheses)
    assert all(len(h.tokens) == 1 for h in translation.hypotheses)
    scores = [h.score for h in translation.hypotheses]
    assert scores == sorted(scores, reverse=True)


def test_sentences_that_have_ended_are_not_timed_out(translator: Translator, clock: Clock) -> None:
    short, long = translator.translate_batch([SENTENCES[0], SENTENCES[1]], beam_size=1)
    count = len(short.hypotheses[0].tokens) + 1
    assert count < len(long.hypotheses[0].tokens)
    clock.now = 0
    found = translator.translate_batch([SENTENCES[0], SENTENCES[1]], timeout=count + 1, beam_size=1)
    assert [t.hypotheses[0].timed_out for t in found] == [False, True]
    assert found[0].text == short.text


def test_what_has_not_begun_is_empty(translator: Translator, clock: Clock) -> None:
    found = translator.translate_batch(SENTENCES, timeout=1, beam_size=1)
    assert all(t.text == "" and t.hypotheses[0].timed_out for t in found)
    assert all(math.isnan(t.hypotheses[0].score) for t in found)


@pytest.mark.parametrize("timeout", [0, -1, math.nan, "5", True])
def test_wrong_limits_are_refused(translator: Translator, timeout: float) -> None:
    with pytest.raises(ValueError, match=r"timeout is .*: it must be a number of seconds above 0"):
        translator.translate_batch(SENTENCES, timeout=timeout)


def test_a_function_that_can_be_cancelled_returns_or_raises_what_it_did() -> None:
    assert run_cancellable(lambda: 5, lambda: None) == 5
    with pytest.raises(KeyError):
        run_cancellable(lambda: {}["x"], lambda: None)
    begun = time.monotonic()
    assert run_cancellable(time.monotonic, lambda: None) >= begun
