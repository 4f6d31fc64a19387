"""The API that Immersive Translate asks of services of its users' own (immersivetranslate.com)."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .errors import RequestError, bad_request
from .languages import AUTO, immersive_code
from .service import Call, Endpoint, Service, unless_left
from .text_service import TextRequest

# <b0>words</b0>; of {0}, which it writes too, a translation keeps all.
_TAG = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)


def error_body(error: RequestError) -> Mapping[str, Any]:
    """How it says what is wrong."""
    return {"error": error.message}


def routes(service: Service) -> list[Route]:
    """Its address."""

    async def translate(call: Call) -> Response:
        parameters = call.parameters
        texts, is_list = parameters.texts("text_list")
        if not is_list:
            raise bad_request("the parameter text_list must be a list of texts")
        request = TextRequest(
            source=parameters.text("source_lang", AUTO),
            target=parameters.text("target_lang"),
            client=call.client,
        )
        service.limits.check_texts(texts)
        service.count(call, len(texts))
        each = [(text, replace(request, html=_TAG.search(text) is not None)) for text in texts]
        found = await unless_left(call.request, service.texts.translate_each(each))
        return JSONResponse(
            {
                "translations": [
                    {"detected_source_lang": immersive_code(text.source), "text": text.text}
                    for text in found
                ]
            }
        )

    return [Endpoint(service, translate, error_body, status_if_no_key=401).at("/imme")]
