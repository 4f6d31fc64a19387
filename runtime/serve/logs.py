"""What the service writes of each request, as text or JSON; never texts, keys or query strings."""

import contextlib
import json
import logging
import time
from collections.abc import Collection, Iterator

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .metrics import Metrics

events = logging.getLogger("tfm.serve")
access = logging.getLogger("tfm.serve.access")
OTHER = "other"


class ObservedRequests:
    """Counts and logs the requests that go through to an application."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, paths: Collection[str]) -> None:
        """paths: those that have a counter of their own; others share one."""
        self._app, self._metrics, self._paths = app, metrics, frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.monotonic()
        status = 500

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.request_began()
        try:
            await self._app(scope, receive, noting_send)
        finally:
            seconds = time.monotonic() - begun
            path = scope["path"]
            self._metrics.request_ended(path if path in self._paths else OTHER, status, seconds)
            if access.isEnabledFor(logging.INFO):
                address = scope["client"][0] if scope.get("client") else ""
                fields = {
                    "client": address,
                    "method": scope["method"],
                    "path": path,
                    "status": status,
                    "seconds": round(seconds, 4),
                }
                shown = {**fields, "path": path if path.isprintable() else ascii(path)}
                access.info("%s %s %s %d %.4f s", *shown.values(), extra={"request": fields})


class JsonLines(logging.Formatter):
    """One JSON object in a line."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        request = getattr(record, "request", None)
        entry |= request if isinstance(request, dict) else {"message": record.getMessage()}
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=True)


@contextlib.contextmanager
def log_requests(kind: str) -> Iterator[None]:
    """Within it events of the service and requests are lines on stderr.

    Args:
        kind: "text"; "json", in which warnings of everything else come, too; or "off", without
            requests
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if kind == "json" else logging.Formatter("%(message)s"))
    events.setLevel(logging.INFO)
    events.propagate = False
    access.setLevel(logging.WARNING if kind == "off" else logging.NOTSET)
    loggers = [events, logging.getLogger()] if kind == "json" else [events]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
