"""What those who run the service ask of it: is it well, and what has it done."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .errors import RequestError
from .service import Call, Endpoint, Service


def error_body(error: RequestError) -> Mapping[str, Any]:
    """How it says what is wrong."""
    return {"error": error.message}


def routes(service: Service, specification: Callable[[], dict[str, Any]]) -> list[Route]:
    """Their addresses.

    Args:
        specification: the OpenAPI document
    """

    async def health(_call: Call) -> Response:
        service.check_loaded()
        return JSONResponse({"status": "ok"})

    async def metrics(call: Call) -> Response:
        service.check_key(call.key, 403)
        return Response(service.metrics.exposition(), media_type=service.metrics.content_type)

    async def spec(_call: Call) -> Response:
        return JSONResponse(specification())

    def get(handler: Any) -> Endpoint:
        return Endpoint(service, handler, error_body, method="GET", is_open=True)

    return [
        get(health).at("/health"),
        get(metrics).at("/metrics"),
        get(spec).at("/spec"),
        get(spec).at("/openapi.json"),
    ]
