"""The OpenAPI document of the service, for the models that it has."""

from collections.abc import Mapping, Sequence
from typing import Any

import tfm.runtime

from .deepl import MOST_TEXTS
from .languages import AUTO, deepl_code, deepl_targets, libretranslate_code
from .libretranslate import FORMATS
from .service import Service
from .stream import EVENT_STREAM

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_BOOLEAN: Schema = {"type": "boolean"}
_KEY: Schema = {"description": "An API key, where one is needed."}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_FLAG: Schema = {"type": "boolean", "default": False}
_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_ERRORS = {
    400: "The request is wrong.",
    401: "An API key is needed.",
    403: "The API key is missing or not valid, or this is not done here.",
    408: "The request did not come in time.",
    413: "The request is too large.",
    429: "The client has asked for too much: Retry-After says when to come again.",
    503: "The models are being loaded, or too many requests are in work.",
}


def specification(service: Service) -> Schema:
    """The document, OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tfm serve",
            "version": tfm.runtime.__version__,
            "description": "Translation by the models of this service. A text may have any number"
            " of sentences.",
        },
        "paths": {
            **_libretranslate(service),
            **_deepl(service),
            **_others(service),
            **_own(service),
            **_operations(),
        },
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "token": {"type": "apiKey", "in": "query", "name": "token"},
            }
        },
        "security": [{"bearer": []}, {"token": []}] if service.keys.required else [],
    }


def _libretranslate(service: Service) -> Schema:
    languages = [libretranslate_code(code) for code in service.models.languages]
    text_or_list = {"anyOf": [_limited_text(service), _list_of_texts(service)]}
    detected = _object({"confidence": _NUMBER, "language": {"enum": languages}})
    translate = _object(
        {
            "q": text_or_list,
            "source": {"enum": [AUTO, *languages]},
            "target": {"enum": languages},
            "format": {"enum": [*FORMATS, None], "default": FORMATS[0]},
            "alternatives": _alternatives(service),
            "api_key": _KEY,
        },
        ("q", "source", "target"),
    )
    answer = _object(
        {
            "translatedText": {"anyOf": [_TEXT, _array(_TEXT)]},
            "detectedLanguage": {"anyOf": [detected, _array(detected)]},
            "alternatives": {"anyOf": [_array(_TEXT), _array(_array(_TEXT))]},
        },
        ("translatedText",),
    )
    language = _object({"code": _TEXT, "name": _TEXT, "targets": _array(_TEXT)})
    error = _object({"error": _TEXT})
    named = _object({"code": _TEXT, "name": _TEXT})
    settings = _object(
        {
            **_all(("apiKeys", "filesTranslation", "keyRequired", "suggestions"), _BOOLEAN),
            **_all(("charLimit", "frontendTimeout"), {"type": "integer"}),
            "supportedFilesFormat": _array(_TEXT),
            "language": _object({"source": named, "target": named}),
        }
    )
    detect = _object({"q": text_or_list, "api_key": _KEY}, ("q",))
    upload = _object(
        {
            "file": {"type": "string", "format": "binary"},
            "source": {"enum": [AUTO, *languages]},
            "target": {"enum": languages},
            "api_key": _KEY,
        },
        ("file", "source", "target"),
    )
    file = _post("Translate a document", upload, _object({"translatedFileUrl": _TEXT}), error)
    file["post"]["requestBody"]["content"] = {_MULTIPART: {"schema": upload}}
    return {
        "/translate": _post("Translate a text or a list of texts", translate, answer, error),
        "/translate_file": file,
        "/detect": _post("In which language is this?", detect, _array(detected), error),
        "/languages": _get("The languages, and into what each is translated", _array(language)),
        "/frontend/settings": _get("What a page must know of this service", settings),
    }


def _deepl(service: Service) -> Schema:
    targets = [code for language in service.models.languages for code in deepl_targets(language)]
    request = _object(
        {
            "text": _list_of_texts(service, MOST_TEXTS),
            "target_lang": {"enum": targets},
            "source_lang": {"enum": ["", None, *map(deepl_code, service.models.languages)]},
            "tag_handling": {"enum": ["html", "xml", "", None]},
        },
        ("text", "target_lang"),
    )
    translation = _object(
        {"detected_source_language": _TEXT, "text": _TEXT, "billed_characters": _COUNT}
    )
    error = _object({"message": _TEXT})
    language = _object(
        {"language": _TEXT, "name": _TEXT, "supports_formality": _BOOLEAN}, ("language", "name")
    )
    kind = {"enum": ["source", "target"], "default": "source"}
    usage = _object({"character_count": _COUNT, "character_limit": _COUNT})
    answer = _object({"translations": _array(translation)})
    return {
        "/v2/translate": _post("Translate texts, in DeepL's shape", request, answer, error),
        "/v2/languages": _get(
            "The languages, in DeepL's shape",
            _array(language),
            error,
            parameters=[{"name": "type", "in": "query", "schema": kind}],
        ),
        "/v2/usage": _get("Characters so far", usage, error),
    }


def _others(service: Service) -> Schema:
    languages = service.models.languages
    text, texts = _limited_text(service), _list_of_texts(service)
    maybe_auto: Schema = {"enum": [AUTO, *languages]}
    pair: dict[str, Schema] = {
        "source_lang": {"enum": [AUTO, "", None, *languages]},
        "target_lang": {"enum": languages},
    }
    deeplx_answer = _object(
        {
            **_all(("code", "id"), _COUNT),
            **_all(("data", "source_lang", "target_lang", "method"), _TEXT),
            "alternatives": _array(_TEXT),
        }
    )
    deeplx_error = _object({"code": _COUNT, "message": _TEXT})
    error = _object({"error": _TEXT})
    immersive = _object({"text_list": texts, **pair}, ("text_list", "target_lang"))
    translation = _object({"detected_source_lang": _TEXT, "text": _TEXT})
    batch = _object(
        {"from": maybe_auto, "to": {"enum": languages}, "texts": texts, "html": _FLAG},
        ("from", "to", "texts"),
    )
    deeplx = _object({"text": text, **pair}, ("text", "target_lang"))
    return {
        "/deeplx": _post(
            "Translate a text, in DeepLX's shape", deeplx, deeplx_answer, deeplx_error
        ),
        "/imme": _post(
            "Translate texts, in Immersive Translate's shape",
            immersive,
            _object({"translations": _array(translation)}),
            error,
            forms=False,
        ),
        "/translate/batch": _post(
            "Translate texts, in MTranServer's shape",
            batch,
            _object({"results": _array(_TEXT)}),
            error,
            forms=False,
        ),
    }


def _own(service: Service) -> Schema:
    languages = service.models.languages
    maybe_number: Schema = {"type": ["number", "null"]}
    sentence = _object(
        {
            **_all(("index", "begin", "end"), _COUNT),
            "text": _TEXT,
            "score": maybe_number,
            "truncated": _BOOLEAN,
            "alternatives": _array(_object({"text": _TEXT, "score": maybe_number})),
            "alignment": {
                "anyOf": [
                    {"type": "null"},
                    _array({**_array(_COUNT), "minItems": 4, "maxItems": 4}),
                ]
            },
            "doubts": _array(_TEXT),
        }
    )
    request = _object(
        {
            "q": _limited_text(service),
            "source": {"enum": [AUTO, *languages]},
            "target": {"enum": languages},
            "alternatives": _alternatives(service),
            **_all(("alignment", "doubts", "partial"), _FLAG),
        },
        ("q", "source", "target"),
    )
    answer = _object(
        {
            **_all(("text", "source", "target"), _TEXT),
            "sentences": _array(sentence),
        }
    )
    model = _object(
        {
            **_all(("source", "target", "name"), _TEXT),
            "variant": {"type": ["string", "null"]},
        }
    )
    info = _object({"version": _TEXT, "engine": {"const": "server"}, "models": _array(model)})
    translate = _post(
        "Translate a text; with Accept: text/event-stream sentence by sentence",
        request,
        answer,
        _object({"error": _TEXT}),
    )
    translate["post"]["responses"]["200"]["content"][EVENT_STREAM] = {"schema": _TEXT}
    return {"/tfm/translate": translate, "/tfm/info": _get("The models", info)}


def _operations() -> Schema:
    health = _get("Are the models loaded?", _object({"status": {"const": "ok"}}))
    metrics = _get("For Prometheus", _TEXT)
    content = metrics["get"]["responses"]["200"]["content"]
    content["text/plain"] = content.pop(_JSON)
    return {"/health": health, "/metrics": metrics}


def _limited_text(service: Service) -> Schema:
    limit = service.limits.char_limit
    return {"type": "string", "minLength": 1, **({"maxLength": limit} if limit >= 0 else {})}


def _list_of_texts(service: Service, most: int = -1) -> Schema:
    limits = [limit for limit in (service.limits.batch_limit, most) if limit >= 0]
    item = {**_limited_text(service), "minLength": 0}
    return {**_array(item), "minItems": 1, **({"maxItems": min(limits)} if limits else {})}


def _alternatives(service: Service) -> Schema:
    limit = service.limits.alternatives_limit
    return {**_COUNT, "default": 0, **({"maximum": limit} if limit >= 0 else {})}


def _all(names: Sequence[str], schema: Schema) -> dict[str, Schema]:
    """The same for each of these properties."""
    return {name: schema for name in names}


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _object(properties: Mapping[str, Schema], required: Sequence[str] | None = None) -> Schema:
    needed = list(properties) if required is None else list(required)
    return {"type": "object", "properties": dict(properties), "required": needed}


def _answers(schema: Schema, error: Schema) -> Schema:
    responses = {"200": {"description": "Done.", "content": {_JSON: {"schema": schema}}}}
    for status, description in _ERRORS.items():
        responses[str(status)] = {
            "description": description,
            "content": {_JSON: {"schema": error}},
        }
    return responses


def _post(
    summary: str, body: Schema, answer: Schema, error: Schema, *, forms: bool = True
) -> Schema:
    content = {_JSON: {"schema": body}}
    if forms:
        content[_FORM] = {"schema": _as_form(body)}
    return {
        "post": {
            "summary": summary,
            "requestBody": {"required": True, "content": content},
            "responses": _answers(answer, error),
        }
    }


def _as_form(schema: Any) -> Any:
    """The same where there is no null, and where a list of one text is that text."""
    if isinstance(schema, list):
        return [_as_form(part) for part in schema if part is not None]
    if not isinstance(schema, dict):
        return schema
    changed = {name: _as_form(part) for name, part in schema.items()}
    items = changed.get("items", {})
    if "minLength" not in items:
        return changed
    return {"anyOf": [{**items, "minLength": 1}, {**changed, "minItems": 2}]}


def _get(
    summary: str,
    answer: Schema,
    error: Schema | None = None,
    parameters: Sequence[Schema] = (),
) -> Schema:
    return {
        "get": {
            "summary": summary,
            "parameters": list(parameters),
            "responses": _answers(answer, error or _object({"error": _TEXT})),
        }
    }
