"""The lines that requests leave: one each, whatever was asked for."""

import asyncio
import logging
from typing import Any

import pytest
from helpers.needs import needs_module


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/a\n1.2.3.4 GET /b 200", r"'/a\n1.2.3.4 GET /b 200'"),
        ("/\x1b[2J", r"'/\x1b[2J'"),
        ("/页", "/页"),
    ],
    ids=["line break", "escape", "Chinese"],
)
def test_a_path_does_not_write_lines_of_its_own(
    path: str, shown: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("starlette", "prometheus_client"):
        needs_module(module)
    from tfm.runtime.serve.logs import ObservedRequests, access
    from tfm.runtime.serve.metrics import Metrics

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404})

    async def send(_message: Any) -> None:
        pass

    async def receive() -> Any:
        raise AssertionError("nobody reads")

    observed = ObservedRequests(app, metrics=Metrics(), paths=())
    scope = {"type": "http", "method": "GET", "path": path, "client": ("1.2.3.4", 5)}
    monkeypatch.setattr(access, "handlers", [caplog.handler])
    caplog.set_level(logging.INFO, logger=access.name)
    asyncio.run(observed(scope, receive, send))
    assert f"1.2.3.4 GET {shown} 404 " in caplog.messages[-1]
    assert caplog.records[-1].request["path"] == path  # type: ignore[attr-defined]
