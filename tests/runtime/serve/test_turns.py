"""Very many short texts: others have the event loop in between."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from helpers.needs import needs_module

from tfm.runtime.bundled import bundled_model

TEXTS = [str(number) for number in range(100)]  # stay as they are, without a model


def test_a_list_is_planned_and_put_together_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("starlette", "prometheus_client", "python_multipart"):
        needs_module(module)
    from tfm.runtime.serve import text_service
    from tfm.runtime.serve.models import Models
    from tfm.runtime.serve.service import Service
    from tfm.runtime.serve.text_service import TextRequest

    monkeypatch.setattr(text_service, "_LONGEST_TURN", 0)
    texts = Service(Models([Path(bundled_model())])).texts
    turns = 0

    async def count_turns(work: "asyncio.Task[Any]") -> None:
        nonlocal turns
        while not work.done():
            turns += 1
            await asyncio.sleep(0)

    async def main() -> list[str]:
        work = asyncio.create_task(texts.translate(TEXTS, TextRequest(source="auto", target="en")))
        await count_turns(work)
        return [text.text for text in await work]

    assert asyncio.run(main()) == TEXTS
    assert turns >= 2 * len(TEXTS)  # one after each plan, one after each result
