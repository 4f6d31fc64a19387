"""asyncio: concurrent callers become batches, and what each gets is its own."""

import asyncio
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tfm.runtime import (
    AsyncTranslator,
    CancelledError,
    PlaceholderPatterns,
    TranslationError,
    Translator,
)
from tfm.runtime.options import DecodingOptions

SENTENCES = [
    "我爱你。",
    "今天天气很好。",
    "你叫什么名字？",
    "我想喝一杯茶。",
    "他每天早上六点起床。",
] * 4


class Spy:
    """Counts the calls of TokenTranslator.translate, and makes them wait where it is asked to."""

    def __init__(self, translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[int, DecodingOptions]] = []
        self.may_run = threading.Event()
        self.may_run.set()
        self.fails_with: Sequence[int] | None = None
        translate = translator._tokens.translate

        def spied(sources: Any, options: DecodingOptions, *rest: Any, **keywords: Any) -> Any:
            self.calls.append((len(sources), options))
            assert self.may_run.wait(60)
            if self.fails_with in sources:
                raise TranslationError("too little memory")
            return translate(sources, options, *rest, **keywords)

        monkeypatch.setattr(translator._tokens, "translate", spied)


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator(intra_threads=1)


@pytest.fixture
def spy(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spy]:
    spy = Spy(translator, monkeypatch)
    yield spy
    spy.may_run.set()


@pytest.fixture
def service(translator: Translator) -> Iterator[AsyncTranslator]:
    service = AsyncTranslator(translator)
    yield service
    service.close()
    assert threads() == []


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("tfm ")]


async def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


async def busy(service: AsyncTranslator, spy: Spy) -> "asyncio.Task[Any]":
    """The engine is at a first sentence, so that others gather."""
    spy.may_run.clear()
    first = asyncio.create_task(service.translate("好"))
    await until(lambda: spy.calls)
    return first


def test_concurrent_callers_are_few_calls_with_the_same_results(
    translator: Translator, spy: Spy
) -> None:
    expected = translator.translate_batch(SENTENCES)
    spy.calls.clear()

    async def main() -> list[Any]:
        return await asyncio.gather(*map(translator.translate_async, SENTENCES))

    found = asyncio.run(main())
    assert [t.source for t in found] == SENTENCES
    assert [t.text for t in found] == [t.text for t in expected]
    assert [t.hypotheses[0].score for t in found] == pytest.approx(
        [t.hypotheses[0].score for t in expected], abs=1e-2
    )
    assert sum(size for size, _ in spy.calls) == len(SENTENCES)
    assert len(spy.calls) <= 10


def test_what_gathers_is_one_call_up_to_the_budget(service: AsyncTranslator, spy: Spy) -> None:
    async def main(service: AsyncTranslator) -> None:
        spy.calls.clear()
        first = await busy(service, spy)
        others = [asyncio.create_task(service.translate(text)) for text in SENTENCES]
        await until(lambda: len(service._queue._waiting) == len(SENTENCES))
        spy.may_run.set()
        await asyncio.gather(first, *others)

    asyncio.run(main(service))
    assert [size for size, _ in spy.calls] == [1, len(SENTENCES)]
    small = AsyncTranslator(service.translator, max_batch_tokens=5 * 4 * 9)
    asyncio.run(main(small))
    small.close()
    sizes = [size for size, _ in spy.calls]
    assert sum(sizes) == 1 + len(SENTENCES)
    assert 1 < max(sizes) < len(SENTENCES)


def test_other_options_are_not_mixed(service: AsyncTranslator, spy: Spy) -> None:
    variations: list[dict[str, Any]] = [
        {},
        {"beam_size": 1},
        {"target_prefix": "I"},
        {"temperature": 1.0, "seed": 5},
        {"with_doubts": True},
    ]
    sentences = SENTENCES[:5]
    expected = [service.translator.translate_batch(sentences, **v) for v in variations]
    spy.calls.clear()

    async def main() -> list[list[Any]]:
        first = await busy(service, spy)
        asked = [(text, v) for text in sentences for v in variations]
        tasks = [asyncio.create_task(service.translate(text, **v)) for text, v in asked]
        await until(lambda: len(service._queue._waiting) == len(tasks))
        spy.may_run.set()
        found = await asyncio.gather(*tasks)
        await first
        return [found[number :: len(variations)] for number in range(len(variations))]

    found = asyncio.run(main())
    assert [[t.text for t in row] for row in found] == [[t.text for t in row] for row in expected]
    assert [t.doubts for t in found[-1]] == [t.doubts for t in expected[-1]]
    assert [size for size, _ in spy.calls] == [1] + [len(sentences)] * len(variations)


def test_terms_and_placeholders_are_of_those_who_gave_them(
    service: AsyncTranslator, spy: Spy
) -> None:
    variations: list[dict[str, Any]] = [
        {"terms": {"我": "we"}},
        {"terms": {"我": "yours truly"}},
        {"placeholders": PlaceholderPatterns(), "terms": {"我": "we"}},
        {"with_alignment": True},
    ]
    sentences = ["我爱你。", "我想喝一杯茶。"]
    expected = [service.translator.translate_batch(sentences, **v) for v in variations]
    assert "yours truly" in expected[1][0].text

    async def main() -> list[Any]:
        first = await busy(service, spy)
        asked = [(text, v) for text in sentences for v in variations]
        tasks = [asyncio.create_task(service.translate(text, **v)) for text, v in asked]
        await until(lambda: len(service._queue._waiting) == len(tasks))
        spy.calls.clear()
        spy.may_run.set()
        found = await asyncio.gather(*tasks)
        await first
        return found

    spy.calls.clear()
    found = asyncio.run(main())
    for number, translations in enumerate(expected):
        own = found[number :: len(variations)]
        assert [t.text for t in own] == [t.text for t in translations]
        assert [t.unmet for t in own] == [t.unmet for t in translations]
    assert found[3].alignment is not None
    assert [size for size, _ in spy.calls] == [len(sentences)] * len(variations)


def test_a_mistake_is_its_callers(service: AsyncTranslator, spy: Spy) -> None:
    async def main() -> list[Any]:
        return await asyncio.gather(
            service.translate("我爱你。"),
            service.translate(5),  # type: ignore[arg-type]
            service.translate("\ud800"),
            service.translate("好", beam_size=0),
            service.translate("好", beams=2),
            service.translate("好", target_language="xx"),
            service.translate("好", suppress_ids=(10**6,)),
            service.translate("好", timeout=0),
            service.translate(" "),
            return_exceptions=True,
        )

    right, *wrong, blank = asyncio.run(main())
    assert right.text == "I love you."
    assert blank.text == ""
    assert [type(error) for error in wrong] == [ValueError] * 3 + [TypeError] + [ValueError] * 3


def test_a_failure_is_of_the_sentence_that_fails(
    translator: Translator, service: AsyncTranslator, spy: Spy
) -> None:
    bad = "今天天气很好。"
    (spy.fails_with,) = translator.tokenizer.encode([bad])

    async def main() -> list[Any]:
        first = await busy(service, spy)
        tasks = [asyncio.create_task(service.translate(text)) for text in SENTENCES[:5]]
        await until(lambda: len(service._queue._waiting) == 5)
        spy.may_run.set()
        await first
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = asyncio.run(main())
    assert [isinstance(one, TranslationError) for one in found] == [
        text == bad for text in SENTENCES[:5]
    ]
    assert found[0].text == "I love you."


def test_a_cancelled_caller_disturbs_nobody(service: AsyncTranslator, spy: Spy) -> None:
    async def main() -> list[Any]:
        first = await busy(service, spy)
        tasks = [asyncio.create_task(service.translate(text)) for text in SENTENCES[:4]]
        await until(lambda: len(service._queue._waiting) == 4)
        tasks[1].cancel()  # while it waits
        await until(lambda: len(service._queue._waiting) == 3)
        first.cancel()  # while it runs
        spy.may_run.set()
        return await asyncio.gather(first, *tasks, return_exceptions=True)

    found = asyncio.run(main())
    cancelled = [isinstance(one, asyncio.CancelledError) for one in found]
    assert cancelled == [True, False, True, False, False]
    assert [size for size, _ in spy.calls] == [1, 3]
    expected = service.translator.translate_batch(SENTENCES[:4])
    assert [found[n + 1].text for n in (0, 2, 3)] == [expected[n].text for n in (0, 2, 3)]


def test_cancel_of_the_translator_ends_what_runs(service: AsyncTranslator) -> None:
    long = "我爱你，今天天气很好，我们明天去北京，" * 20
    translator = service.translator
    assert isinstance(translator, Translator)

    async def main() -> list[Any]:
        tasks = [
            asyncio.create_task(service.translate(long, min_length=200, beam_size=8))
            for _ in range(3)
        ]
        await until(lambda: any(call._runs for call in tuple(translator._tokens._calls)))
        while not all(task.done() for task in tasks):
            translator.cancel()
            await asyncio.sleep(0.01)
        return [await asyncio.gather(*tasks, return_exceptions=True), await service.translate("好")]

    found, after = asyncio.run(main())
    assert all(isinstance(error, CancelledError) for error in found)
    assert after.text


def test_several_event_loops_at_once(service: AsyncTranslator, spy: Spy) -> None:
    expected = [t.text for t in service.translator.translate_batch(SENTENCES)]
    found: dict[int, list[str]] = {}
    spy.calls.clear()

    def loop(number: int) -> None:
        async def main() -> None:
            results = await asyncio.gather(*map(service.translate, SENTENCES))
            found[number] = [translation.text for translation in results]

        asyncio.run(main())

    loops = [threading.Thread(target=loop, args=(number,)) for number in range(4)]
    for thread in loops:
        thread.start()
    for thread in loops:
        thread.join(60)
    assert list(found.values()) == [expected] * 4
    assert len(spy.calls) < 4 * len(SENTENCES) / 2


def test_a_limit_of_time_is_the_callers(service: AsyncTranslator, spy: Spy) -> None:
    async def main() -> tuple[Any, ...]:
        first = await busy(service, spy)
        late = asyncio.create_task(service.translate(SENTENCES[4], timeout=0.01))
        early = asyncio.create_task(service.translate(SENTENCES[4], timeout=1000))
        await until(lambda: len(service._queue._waiting) == 2)
        await asyncio.sleep(0.02)
        spy.may_run.set()
        await first
        return await late, await early

    late, early = asyncio.run(main())
    assert (late.text, late.hypotheses[0].timed_out) == ("", True)
    assert (early.text, early.hypotheses[0].timed_out) == (
        service.translator.translate_batch([SENTENCES[4]])[0].text,
        False,
    )


@pytest.mark.parametrize("options", [{}, {"beam_size": 1}, {"target_prefix": "Every"}])
def test_streams(translator: Translator, options: dict[str, Any]) -> None:
    async def one(sentence: str) -> list[str]:
        return [piece async for piece in translator.stream_async(sentence, **options)]

    async def main() -> list[list[str]]:
        return await asyncio.gather(*map(one, SENTENCES[:5]))

    found = asyncio.run(main())
    expected = translator.translate_batch(SENTENCES[:5], **options)
    assert ["".join(pieces) for pieces in found] == [t.text for t in expected]
    if options == {"beam_size": 1}:
        assert len(found[-1]) > 2


def test_a_stream_that_is_left_ends(service: AsyncTranslator) -> None:
    options: dict[str, Any] = {"beam_size": 1, "min_length": 2000, "max_length": 2000}

    async def read(stream: Any) -> None:
        async for _ in stream:
            pass

    async def main() -> None:
        left = service.stream(SENTENCES[4], **options)
        assert await anext(left)
        await left.aclose()
        await until(lambda: not threads())
        task = asyncio.create_task(read(service.stream(SENTENCES[4], **options)))
        await until(threads)
        task.cancel()
        await until(lambda: not threads())
        closed = service.stream(SENTENCES[4], **options)
        assert await anext(closed)
        await asyncio.to_thread(service.close)
        assert not threads()
        with pytest.raises(CancelledError):
            await read(closed)

    begun = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - begun < 5
    with pytest.raises(ValueError, match="this translator is closed"):
        service.stream("好")


def test_what_is_wrong_with_a_stream_is_said_at_once(service: AsyncTranslator) -> None:
    with pytest.raises(TypeError, match="no decoding option"):
        service.stream("好", beams=2)
    with pytest.raises(ValueError, match="sentence 0 is 5"):
        service.stream(5)  # type: ignore[arg-type]


def test_closing_refuses_what_waits_and_leaves_no_thread(tiny_folder: Any) -> None:
    translator = Translator(tiny_folder, device="cpu", variant="int8")

    async def main() -> list[Any]:
        async with AsyncTranslator(translator, patience=50) as service:
            task = asyncio.create_task(service.translate("一千"))
            await until(threads)
        assert not threads()
        patient = asyncio.create_task(service.translate("一千"))
        own = await translator.translate_async("一千")
        return await asyncio.gather(task, patient, return_exceptions=True) + [own]

    *errors, found = asyncio.run(main())
    assert [str(error) for error in errors] == ["this translator is closed"] * 2
    assert found.text == translator.translate("一千").text
    other = pickle.loads(pickle.dumps(translator))
    service = pickle.loads(pickle.dumps(AsyncTranslator(translator, patience=0.02)))
    assert (service.patience, service.translator.folder) == (0.02, translator.folder)
    assert asyncio.run(other.translate_async("一千")).text == found.text
    assert asyncio.run(service.translate("一千")).text == found.text
    for opened in (service, other, translator):
        opened.close()
    assert not threads()
    with pytest.raises(ValueError, match="this translator is closed"):
        asyncio.run(translator.translate_async("一千"))


@pytest.mark.parametrize(
    "limits", [{"max_batch_tokens": 0}, {"max_batch_tokens": 1.5}, {"patience": -1}]
)
def test_wrong_limits_are_refused(translator: Translator, limits: dict[str, Any]) -> None:
    name, value = next(iter(limits.items()))
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        AsyncTranslator(translator, **limits)
