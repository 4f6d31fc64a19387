"""DeepLX's API (deeplx.owo.network): one text, and the next best beside it."""

import secrets
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .errors import RequestError
from .languages import AUTO
from .service import Call, Endpoint, Service, unless_left
from .text_service import TextRequest

ALTERNATIVES = 3


def error_body(error: RequestError) -> Mapping[str, Any]:
    """How it says what is wrong."""
    return {"code": error.status, "message": error.message}


def routes(service: Service) -> list[Route]:
    """Its address."""

    async def translate(call: Call) -> Response:
        parameters = call.parameters
        text = parameters.text("text")
        request = TextRequest(
            source=parameters.text("source_lang", AUTO),
            target=parameters.text("target_lang"),
            alternatives=ALTERNATIVES,
            client=call.client,
        )
        service.limits.check_texts([text])
        service.count(call, 1)
        (found,) = await unless_left(call.request, service.texts.translate([text], request))
        return JSONResponse(
            {
                "code": 200,
                "id": secrets.randbelow(10**10),
                "data": found.text,
                "alternatives": list(found.alternatives),
                "source_lang": found.source.upper(),
                "target_lang": found.target.upper(),
                "method": "Free",
            }
        )

    return [Endpoint(service, translate, error_body, status_if_no_key=401).at("/deeplx")]
