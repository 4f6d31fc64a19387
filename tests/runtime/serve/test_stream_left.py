"""A stream whose client leaves while a sentence is translated: nothing runs on."""

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

from helpers.needs import needs_module

from tfm.runtime.documents import parse_text


class Endless:
    """Settles one piece of a sentence, and is never ready; remembers who left it."""

    def __init__(self) -> None:
        self.left: list[str] = []

    async def in_order(self, *_how: Any) -> AsyncGenerator[Any, None]:
        """See TextService."""
        try:
            await asyncio.Event().wait()
            yield
        finally:
            self.left.append("translation")

    async def stream(self, *_sentence: Any, **_how: Any) -> AsyncGenerator[str, None]:
        """See AsyncTranslator."""
        try:
            yield "I"
            await asyncio.Event().wait()
        finally:
            self.left.append("pieces")


def test_a_client_who_leaves_between_two_pieces() -> None:
    anyio = needs_module("anyio")
    for module in ("starlette", "prometheus_client", "python_multipart"):
        needs_module(module)
    from tfm.runtime.serve.detection import DetectedLanguage
    from tfm.runtime.serve.stream import StreamedText
    from tfm.runtime.serve.text_service import PlannedText

    endless, seen = Endless(), list[str]()
    model: Any = SimpleNamespace(service=endless)
    service: Any = SimpleNamespace(texts=endless)
    plan = PlannedText(
        "我爱你。",
        DetectedLanguage("zh", 100.0),
        "en",
        model,
        parse_text("我爱你。", "zh", "en"),
        {"source_language": "zh", "target_language": "en"},
    )
    streamed = StreamedText(service, plan, 0, True, "client")

    async def read(arrived: asyncio.Event) -> None:
        async for name, _ in streamed.events():
            seen.append(name)
            if name == "partial":
                arrived.set()

    async def main() -> set[Any]:
        arrived = asyncio.Event()
        async with anyio.create_task_group() as group:  # as starlette sends a stream
            group.start_soon(read, arrived)
            await arrived.wait()
            await asyncio.sleep(0)
            group.cancel_scope.cancel()
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(main()) == set()
    assert seen == ["start", "partial"]
    assert sorted(endless.left) == ["pieces", "translation"]
