"""A translator with several threads: what runs at once, and that translations stay the same."""

import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tfm.runtime import TranslationError, Translator, cpu
from tfm.runtime.config import ModelConfig
from tfm.runtime.search import ScoredIds
from tfm.runtime.sessions import Sessions

WAIT = 30  # seconds; a test that needs them has failed
SOURCES = [[5, 6, 7, 3], [8, 3], [9, 10, 3], [5, 8, 11, 12, 13, 3], [6, 3], [7, 14, 3]] * 3
OPTIONS: dict[str, Any] = {"beam_size": 2, "num_hypotheses": 2, "max_length": 12}


@pytest.fixture
def two(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Translator:
    """With two threads, however few processors the machine has."""
    monkeypatch.setattr(cpu, "usable_cpus", lambda: 2)
    return Translator(tiny_folder, variant="int8", device="cpu", intra_threads=2)


@pytest.mark.parametrize("variant", ["int8", "fp32"])
@pytest.mark.parametrize("by_steps", [False, True])
@pytest.mark.parametrize("budget", [8192, 40])
def test_translations_are_those_of_one_thread(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, variant: str, by_steps: bool, budget: int
) -> None:
    monkeypatch.setattr(cpu, "usable_cpus", lambda: 4)
    one, four = (
        Translator(
            tiny_folder, variant=variant, device="cpu", intra_threads=threads, by_steps=by_steps
        ).translate_ids(SOURCES, max_batch_tokens=budget, **OPTIONS)
        for threads in (1, 4)
    )
    assert [[h.ids for h in found] for found in four] == [[h.ids for h in found] for found in one]
    for found, expected in zip(four, one, strict=True):
        scores = [h.score for h in expected]
        assert [h.score for h in found] == pytest.approx(scores, abs=1e-5)


class Together:
    """Sessions.translate that waits until as many calls as that are in it."""

    def __init__(self, translator: Translator, count: int) -> None:
        self.batches: list[int] = []
        self.threads: list[int] = []
        self._barrier = threading.Barrier(count)
        self._translate = translator.sessions.translate

    def __call__(
        self, sources: Sequence[Sequence[int]], *arguments: Any, **keywords: Any
    ) -> list[list[ScoredIds]]:
        self.batches.append(len(sources))
        self.threads.append(threading.get_ident())
        self._barrier.wait(WAIT)
        return self._translate(sources, *arguments, **keywords)


def test_two_batches_run_at_once(two: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    together = Together(two, 2)
    monkeypatch.setattr(two.sessions, "translate", together)
    two.translate_ids([[5, 6, 3]] * 16, beam_size=1)
    assert together.batches == [8, 8]
    assert len(set(together.threads)) == 2
    two.translate_ids([[5, 6, 3]] * 32, beam_size=1, max_batch_tokens=48)
    assert together.batches[2:] == [8] * 4  # 48 tokens are 16 sentences, of both threads


@pytest.mark.parametrize("sentences", [1, 8])
def test_too_few_sentences_stay_with_the_caller(
    two: Translator, monkeypatch: pytest.MonkeyPatch, sentences: int
) -> None:
    together = Together(two, 1)
    monkeypatch.setattr(two.sessions, "translate", together)
    two.translate_ids([[5, 6, 3]] * sentences, beam_size=1)
    assert (together.batches, together.threads) == ([sentences], [threading.get_ident()])


def test_an_error_in_a_helper_reaches_the_caller(
    two: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    translate, main = two.sessions.translate, threading.get_ident()

    def fail_elsewhere(sources: Any, *arguments: Any, **keywords: Any) -> list[list[ScoredIds]]:
        if threading.get_ident() != main:
            raise MemoryError
        return translate(sources, *arguments, **keywords)

    monkeypatch.setattr(two.sessions, "translate", fail_elsewhere)
    with pytest.raises(TranslationError, match="not enough memory"):
        two.translate_ids([[5, 6, 3]] * 32, beam_size=1)
    monkeypatch.undo()
    assert len(two.translate_ids([[5, 6, 3]] * 32, beam_size=1)) == 32


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads as Linux does")
def test_no_graph_has_threads_of_its_own(two: Translator) -> None:
    before = fewest_threads()
    for by_steps in (False, True):
        folder, threads = two.folder, two.sessions.threads
        with Translator(folder, device="cpu", intra_threads=threads, by_steps=by_steps) as other:
            assert other.sessions.threads == 2
            other.translate_ids(SOURCES)
            assert fewest_threads() <= before


def fewest_threads() -> int:
    """Threads of this process; one that has been joined may still be there for a moment."""
    counts = []
    for _ in range(50):
        counts.append(len(os.listdir("/proc/self/task")))
        time.sleep(0.01)
    return min(counts)


def test_a_greedy_model_loads_greedy_alone(tiny_folder: Path) -> None:
    config = ModelConfig.load(tiny_folder)
    config = replace(config, decoding=config.decoding.changed(beam_size=1))
    sessions = Sessions.open(tiny_folder, config, device="cpu")
    translator = Translator.from_sessions(tiny_folder, config, sessions)
    translator.translate_ids(SOURCES, max_length=4)
    assert set(sessions._graphs) == {"greedy"}
    translator.translate_ids(SOURCES, max_length=4, beam_size=2)
    assert set(sessions._graphs) == {"greedy", "translate"}
