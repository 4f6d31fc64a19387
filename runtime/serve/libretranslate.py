"""LibreTranslate's API: the one that most programs know (docs.libretranslate.com)."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import mtran
from .detection import DetectedLanguage
from .errors import RequestError
from .files import FileStore
from .languages import AUTO, language_name, libretranslate_code
from .service import Call, Endpoint, Service, unless_left
from .text_service import TextRequest, TranslatedText, file_endings

FORMATS = ("text", "html", "")
_KEY_MISSING = 400


def error_body(error: RequestError) -> Mapping[str, Any]:
    """How it says what is wrong."""
    return {"error": error.message}


class LibreTranslate:
    """Its addresses."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._files = FileStore()

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
            post(self._translate_file).at("/translate_file"),
            get(self._download).at("/download_file/{name:path}"),
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

    async def _translate_file(self, call: Call) -> Response:
        parameters, service = call.parameters, self._service
        file = parameters.file("file")
        request = TextRequest(
            source=parameters.text("source"), target=parameters.text("target"), client=call.client
        )
        service.count(call, 1)
        work = service.texts.translate_file(file.content, file.name, request)
        content = await unless_left(call.request, work)
        stem, dot, ending = file.name.rpartition(".")
        name = self._files.add(f"{stem}.{request.target}{dot}{ending}", content)
        base = str(call.request.base_url)
        return JSONResponse({"translatedFileUrl": f"{base}download_file/{quote(name)}"})

    async def _download(self, call: Call) -> Response:
        file = self._files.find(call.request.path_params["name"])
        if file is None:
            raise RequestError(404, "there is no such file, or not any more")
        # As an attachment: a page of somebody's is not to run here.
        disposition = f"attachment; filename*=UTF-8''{quote(file.name)}"
        headers = {"Content-Disposition": disposition, "X-Content-Type-Options": "nosniff"}
        return Response(file.content, media_type="application/octet-stream", headers=headers)

    async def _refuse(self, _call: Call) -> Response:
        raise RequestError(403, "suggestions are not taken by this service")

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
                "filesTranslation": True,
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
                "supportedFilesFormat": file_endings(),
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
