"""What the end of the process leaves to those who still translate."""

import subprocess
import sys
import threading

import pytest

from tfm.runtime import TranslationError, run_gate
from tfm.runtime.batch_queue import BatchQueue
from tfm.runtime.run_gate import RunGate
from tfm.runtime.workers import Workers, both

WAIT = 60  # seconds; a test that needs them has failed

# Handlers of atexit run in the opposite order: this one after the runtime has closed its gate.
AT_THE_END = """
import asyncio
import atexit
import threading

def in_a_thread():
    try:
        translator.translate("我爱你。")
    except TranslationError as error:
        print(error)

def late():
    print(*{t.text for t in translator.translate_batch(["我爱你。"] * 40, max_batch_tokens=50)})
    try:
        asyncio.run(translator.translate_async("我爱你。"))
    except TranslationError as error:
        print(error)
    thread = threading.Thread(target=in_a_thread)
    try:
        thread.start()
        thread.join()
    except RuntimeError:  # since Python 3.12 no thread begins so late
        print(run_gate.ENDING)

atexit.register(late)
from tfm.runtime import TranslationError, Translator, run_gate
translator = Translator(intra_threads=2)
translator.translate("我")
"""


def test_translating_in_the_last_handler_of_atexit() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_END],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=WAIT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["I love you.", run_gate.ENDING, run_gate.ENDING]


def test_after_the_end_only_one_thread_runs_and_older_ones_stop_without_a_word() -> None:
    gate, go_on, said = RunGate(), threading.Event(), list[str]()

    def run() -> None:
        assert go_on.wait(WAIT)
        said.append("asks")
        try:
            with gate.run():
                said.append("runs")
        except TranslationError as error:
            said.append(str(error))

    older = threading.Thread(target=run, daemon=True)  # waits in the gate for ever
    older.start()
    gate.end()
    gate.open()  # as a fork would, in an atexit handler
    with gate.run(), gate.run():
        pass
    younger = threading.Thread(target=run)
    younger.start()
    go_on.set()
    younger.join(WAIT)
    assert sorted(said)[-1] == run_gate.ENDING and len(said) <= 3
    assert "runs" not in said
    assert older.is_alive()


@pytest.mark.parametrize("how", ["with helpers", "with a queue"])
def test_at_the_end_older_threads_stop_without_a_word(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(run_gate, "gate", RunGate())
    queue: BatchQueue[int, int] = BatchQueue(lambda _, items: items, budget=9, patience=0)
    begun, ended, said = threading.Event(), threading.Event(), list[str]()

    def fail(_: int) -> None:
        begun.set()
        assert ended.wait(WAIT)
        raise TranslationError(run_gate.ENDING)  # as of a helper that began since

    def work() -> None:
        try:
            if how == "with helpers":
                Workers(2).map(fail, range(2), 2)
            begun.set()
            assert ended.wait(WAIT)
            queue.submit(1, group=0, size=1)
        except TranslationError as error:
            said.append(str(error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert begun.wait(WAIT)
    run_gate.gate.end()
    ended.set()
    thread.join(0.3)
    assert (said, thread.is_alive()) == ([], True)


def test_at_the_end_nobody_waits_for_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    queue: BatchQueue[int, int] = BatchQueue(lambda _, items: items, budget=9, patience=0)
    monkeypatch.setattr(run_gate.gate, "has_ended", True)
    own = threading.get_ident()
    assert Workers(3).map(lambda _: threading.get_ident(), range(3), 3) == [own] * 3
    assert both(threading.get_ident, threading.get_ident) == (own, own)
    with pytest.raises(TranslationError, match="the process is ending"):
        queue.submit(1, group=0, size=1)
