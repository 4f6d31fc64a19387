"""DeepL's API, version 2 (developers.deepl.com): what its own clients can be pointed at."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .errors import RequestError, bad_request
from .languages import AUTO, deepl_code, deepl_name, deepl_targets
from .service import Call, Endpoint, Service, unless_left
from .text_service import TextRequest

MOST_TEXTS = 50
_TOO_LARGE = 413
_NO_LIMIT = 10**12  # characters, where a client wants to know how many are left
_MARKUP = ("", "html", "xml")
_KINDS = ("source", "target")


def error_body(error: RequestError) -> Mapping[str, Any]:
    """How it says what is wrong."""
    return {"message": error.message}


def routes(service: Service) -> list[Route]:
    """Its addresses."""

    async def translate(call: Call) -> Response:
        parameters = call.parameters
        texts, _ = parameters.texts("text")
        if len(texts) > MOST_TEXTS:
            raise bad_request(f"{len(texts)} texts in one request: the limit is {MOST_TEXTS}")
        _check_wishes(parameters.values)
        request = TextRequest(
            source=parameters.text("source_lang", AUTO),
            target=parameters.text("target_lang"),
            html=parameters.choice("tag_handling", _MARKUP) != "",
            client=call.client,
        )
        service.limits.check_texts(texts, _TOO_LARGE)
        service.count(call, len(texts))
        found = await unless_left(call.request, service.texts.translate(texts, request))
        return JSONResponse(
            {
                "translations": [
                    {
                        "detected_source_language": deepl_code(result.source),
                        "text": result.text,
                        "billed_characters": len(text),
                    }
                    for text, result in zip(texts, found, strict=True)
                ]
            }
        )

    async def languages(call: Call) -> Response:
        kind = call.parameters.choice("type", _KINDS)
        if kind == "source":
            codes = [deepl_code(code) for code in service.models.sources]
            listed = [{"language": code, "name": deepl_name(code)} for code in codes]
            return JSONResponse(listed)
        targets = [code for language in service.models.targets for code in deepl_targets(language)]
        return JSONResponse(
            [
                {"language": code, "name": deepl_name(code), "supports_formality": False}
                for code in targets
            ]
        )

    async def usage(_call: Call) -> Response:
        return JSONResponse(
            {
                "character_count": service.metrics.character_count,
                "character_limit": _NO_LIMIT,
            }
        )

    def endpoint(handler: Any, method: str) -> Endpoint:
        return Endpoint(service, handler, error_body, method=method)

    return [
        endpoint(translate, "POST").at("/v2/translate"),
        endpoint(languages, "GET").at("/v2/languages"),
        endpoint(usage, "GET").at("/v2/usage"),
    ]


def _check_wishes(values: Mapping[str, Any]) -> None:
    """Raises RequestError about what would change the translation and cannot be done."""
    if values.get("glossary_id") or values.get("glossary_ids"):
        raise bad_request("there are no glossaries in this service")
    if values.get("formality", "default") in ("more", "less"):
        raise bad_request("formality is not supported: leave it out")
