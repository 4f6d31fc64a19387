"""Cancelling a translation in the middle of a graph, and using the translator afterwards."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tfm.runtime import CancelledError, TranslationError, Translator
from tfm.runtime.bundled import bundled_model
from tfm.runtime.cancellation import Cancellation

LONG = ["我爱你，今天天气很好，我们明天去北京，" * 20] * 400  # minutes of work


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator(intra_threads=2)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Call(threading.Thread):
    """A translation in a thread of its own."""

    def __init__(self, translator: Translator, **options: Any) -> None:
        super().__init__(daemon=True)
        self.translator, self.options = translator, options
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.translator.translate_batch(LONG, **self.options)
        except TranslationError as error:
            self.error = error


@pytest.mark.parametrize(
    "options", [{}, {"beam_size": 1}, {"no_repeat_ngram_size": 3}, {"temperature": 1.0}]
)
def test_cancel_stops_a_graph_that_runs(translator: Translator, options: dict[str, Any]) -> None:
    expected = translator.translate("我爱你。", **options)
    call = Call(translator, **options)
    wait_until(lambda: any(c._runs for c in tuple(translator._tokens._calls)))
    translator.cancel()
    call.join(60)
    assert isinstance(call.error, CancelledError)
    assert str(call.error) == "the translation was cancelled"
    assert not translator._tokens._calls
    assert translator.translate("我爱你。", **options) == expected


def test_every_call_of_the_translator_is_cancelled_and_no_other(translator: Translator) -> None:
    other = Translator(intra_threads=1)
    calls = [Call(translator), Call(translator, beam_size=1)]
    wait_until(lambda: len(translator._tokens._calls) == 2)
    untouched = Call(other)
    wait_until(lambda: bool(other._tokens._calls))
    translator.cancel()
    for call in calls:
        call.join(60)
        assert isinstance(call.error, CancelledError)
    assert untouched.is_alive()
    other.cancel()
    untouched.join(60)


@pytest.mark.parametrize("step", ["align", "unattended", "part_read"])
def test_a_cancel_between_the_steps_of_a_call_counts(
    translator: Translator, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Also where nothing runs at that moment."""
    carry_out = getattr(translator._pairs, step)

    def cancelled(*args: Any, **how: Any) -> Any:
        translator.cancel()
        return carry_out(*args, **how)

    monkeypatch.setattr(translator._pairs, step, cancelled)
    reverse: Any = SimpleNamespace(
        check=lambda *_: None, rerank=lambda translations, *_: translations
    )
    options = {
        "align": {"with_alignment": True},
        "unattended": {"with_doubts": True},
        "part_read": {"reranker": reverse},
    }[step]
    with pytest.raises(CancelledError):
        translator.translate("我爱你。", **options)
    assert not translator._tokens._calls
    monkeypatch.undo()
    assert translator.translate("我爱你。", **options).text


def test_cancelling_nothing_is_nothing(translator: Translator) -> None:
    translator.cancel()
    assert translator.translate("我爱你。").text


def test_a_cancelled_call_begins_no_graph() -> None:
    cancellation = Cancellation()
    with cancellation.run() as options:
        assert not options.terminate
        cancellation.cancel()
        assert options.terminate
    with pytest.raises(CancelledError), cancellation.run():
        pytest.fail("it ran")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_tfm_run_in_the_middle_of_a_batch(
    tmp_path: Path, number: signal.Signals
) -> None:
    text = tmp_path / "long.zh"
    text.write_text("\n".join(LONG), "utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "tfm", "run", "-i", str(text), "-m", str(bundled_model())],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        time.sleep(4)  # it has begun, and is far from done
        assert process.poll() is None
        process.send_signal(number)
        process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 128 + number
