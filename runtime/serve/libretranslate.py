"""LibreTranslate's API: the one that most programs know (docs.libretranslate.com)."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import mtran
from .detection import DetectedLanguage
from .errors import RequestError
from .languages import AUTO, language_name, libretranslate_code
from .service import Call, Endpoint, Service, unless_left
from .text_service import TextRequest, TranslatedText

FORMATS = ("text", "html", "")
_KEY_MISSING = 400


def error_body(error: RequestError) -> Mapping[str, Any]:
    """How it says what is wrong."""
    return {"error": error.message}


class LibreTranslate:
    """Its addresses."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """Where they are."""
        service = self._service

        def post(handler: Any) -> Endpoint:
            return Endpoint(service, handler, error_body, status_if_no_key=_KEY_MISSING)

        def get(handler: Any) -> Endpoint:
            return Endpoint(service, handler, error_body, method="GET", is_open=True)

        return [
            post(self._translate).at("/translate"),
            post(self._detect).at("/detect"),
            post(self._refuse).at("/suggest"),
            post(self._refuse).at("/translate_file"),
            get(self._languages).at("/languages"),
            get(self._settings).at("/frontend/settings"),
        ]

    async def _translate(self, call: Call) -> Response:
        parameters, limits = call.parameters, self._service.limits
        if mtran.is_mtran(parameters):
            return await mtran.translate_one(self._service, call)
        texts, is_list = parameters.texts("q")
        request = TextRequest(
            source=parameters.text("source"),
            target=parameters.text("target"),
            html=parameters.choice("format", FORMATS) == "html",
            alternatives=parameters.integer("alternatives"),
            client=call.client,
        )
        limits.check_texts(texts)
        limits.check_alternatives(request.alternatives)
        self._service.count(call, len(texts))
        found = await unless_left(call.request, self._service.texts.translate(texts, request))
        return JSONResponse(_answer(found, request, is_list))

    async def _detect(self, call: Call) -> Response:
        texts, _ = call.parameters.texts("q")
        self._service.limits.check_texts(texts)
        self._service.count(call, 1)
        found = self._service.texts.detect("\n".join(texts))
        return JSONResponse([_detected(language) for language in found])

    async def _refuse(self, call: Call) -> Response:
        what = "files are" if call.request.url.path.endswith("file") else "suggestions are"
        raise RequestError(403, f"{what} not taken by this service")

    async def _languages(self, _call: Call) -> Response:
        models = self._service.models
        return JSONResponse(
            [
                {
                    "code": libretranslate_code(code),
                    "name": language_name(code),
                    "targets": [
                        libretranslate_code(target)
                        for target in sorted({code, *models.targets_of(code)})
                    ],
                }
                for code in models.languages
            ]
        )

    async def _settings(self, _call: Call) -> Response:
        target = self._service.models.targets[0]
        return JSONResponse(
            {
                "apiKeys": self._service.keys.required,
                "charLimit": self._service.limits.char_limit,
                "filesTranslation": False,
                "frontendTimeout": 500,
                "keyRequired": self._service.keys.required,
                "language": {
                    "source": {"code": AUTO, "name": "Auto Detect"},
                    "target": {
                        "code": libretranslate_code(target),
                        "name": language_name(target),
                    },
                },
                "suggestions": False,
                "supportedFilesFormat": [],
            }
        )


def _answer(found: list[TranslatedText], request: TextRequest, is_list: bool) -> dict[str, Any]:
    values: dict[str, list[Any]] = {"translatedText": [text.text for text in found]}
    if request.source.lower() == AUTO:
        values["detectedLanguage"] = [
            _detected(DetectedLanguage(text.source, text.confidence)) for text in found
        ]
    if request.alternatives:
        values["alternatives"] = [list(text.alternatives) for text in found]
    return values if is_list else {name: value[0] for name, value in values.items()}


def _detected(found: DetectedLanguage) -> dict[str, Any]:
    return {"confidence": found.confidence, "language": libretranslate_code(found.language)}
