"""MTranServer's API (github.com/xxnuo/MTranServer): `/translate/batch`, and its `/translate`, which
shares its address with LibreTranslate's and differs in its keys."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .errors import RequestError, bad_request
from .parameters import Parameters
from .service import Call, Endpoint, Service, unless_left
from .text_service import TextRequest


def error_body(error: RequestError) -> Mapping[str, Any]:
    """How it says what is wrong."""
    return {"error": error.message}


def routes(service: Service) -> list[Route]:
    """Its address that no other API has."""

    async def batch(call: Call) -> Response:
        texts, is_list = call.parameters.texts("texts")
        if not is_list:
            raise bad_request("the parameter texts must be a list of texts")
        return JSONResponse({"results": await _translated(service, call, texts)})

    endpoint = Endpoint(service, batch, error_body, status_if_no_key=401)
    return [endpoint.at("/translate/batch")]


def is_mtran(parameters: Parameters) -> bool:
    """Whether a request to /translate is meant for this API."""
    values = parameters.values
    return "q" not in values and {"text", "from", "to"} <= values.keys()


async def translate_one(service: Service, call: Call) -> Response:
    """Its /translate."""
    (translated,) = await _translated(service, call, [call.parameters.text("text")])
    return JSONResponse({"result": translated})


async def _translated(service: Service, call: Call, texts: list[str]) -> list[str]:
    parameters = call.parameters
    request = TextRequest(
        source=parameters.text("from"),
        target=parameters.text("to"),
        html=parameters.flag("html"),
        client=call.client,
    )
    service.limits.check_texts(texts)
    service.count(call, len(texts))
    found = await unless_left(call.request, service.texts.translate(texts, request))
    return [text.text for text in found]
