"""Closing a translator while it translates: what runs is finished, and nobody else begins."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tfm.runtime import AsyncTranslator, Translator

WAIT = 60  # seconds; a test that needs them has failed
SENTENCES = ["我爱你。", "今天天气很好。", "你叫什么名字？"] * 2


class Held:
    """A translator whose calls wait until they are let go on."""

    def __init__(self, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.translator = Translator(intra_threads=threads)
        self.expected = [t.text for t in self.translator.translate_batch(SENTENCES)]
        self.begun, self.may_run = threading.Event(), threading.Event()
        translate = self.translator._tokens.translate

        def held(*arguments: Any, **how: Any) -> Any:
            self.begun.set()
            assert self.may_run.wait(WAIT)
            return translate(*arguments, **how)

        monkeypatch.setattr(self.translator._tokens, "translate", held)

    def translate(self) -> list[str]:
        return [t.text for t in self.translator.translate_batch(SENTENCES, max_batch_tokens=60)]


Hold = Callable[[int], Held]


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hold]:
    opened: list[Held] = []

    def hold(threads: int) -> Held:
        opened.append(Held(threads, monkeypatch))
        return opened[-1]

    yield hold
    for held in opened:
        held.may_run.set()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_call_that_runs_is_finished(hold: Hold, threads: int) -> None:
    held, found = hold(threads), []
    translator = held.translator
    thread = threading.Thread(target=lambda: found.append(held.translate()))
    thread.start()
    assert held.begun.wait(WAIT)
    translator.close()
    with pytest.raises(ValueError, match="this translator is closed"):
        translator.score("好", "good")
    held.may_run.set()
    thread.join(WAIT)
    assert found == [held.expected]
    assert not translator.sessions._graphs
    for begin in (held.translate, lambda: translator.stream("好")):
        with pytest.raises(ValueError, match="this translator is closed"):
            begin()


def test_a_batch_that_runs_is_finished_and_what_waits_is_refused(hold: Hold) -> None:
    held = hold(1)
    translator = held.translator

    async def main() -> list[Any]:
        running = asyncio.create_task(translator.translate_async(SENTENCES[0]))
        await asyncio.to_thread(held.begun.wait, WAIT)
        waiting = asyncio.create_task(translator.translate_async(SENTENCES[1]))
        await until(lambda: translator.asynchronous._queue._waiting)
        closing = asyncio.create_task(asyncio.to_thread(translator.close))
        await until(waiting.done)
        held.may_run.set()
        await closing
        return list(await asyncio.gather(running, waiting, return_exceptions=True))

    finished, refused = asyncio.run(main())
    assert finished.text == held.expected[0]
    assert (type(refused), str(refused)) == (ValueError, "this translator is closed")
    assert not translator.sessions._graphs


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
def test_a_child_of_a_fork_closes_without_the_calls_of_others(hold: Hold) -> None:
    held = hold(1)
    thread = threading.Thread(target=held.translate)
    thread.start()
    assert held.begun.wait(WAIT)
    child = os.fork()
    if not child:
        try:
            held.translator.close()
            os._exit(1 if held.translator.sessions._graphs else 0)
        finally:
            os._exit(2)
    held.may_run.set()
    thread.join(WAIT)
    assert os.waitpid(child, 0)[1] == 0


def test_a_stream_whose_thread_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    service = AsyncTranslator(Translator(intra_threads=1))

    async def main() -> None:
        async for _ in service.stream("好"):
            pass

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            asyncio.run(main())
    service.close()


async def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)
