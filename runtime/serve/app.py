"""The service as an ASGI application: all APIs, and the page."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from . import deepl, deeplx, immersive, mtran, operations, stream
from .libretranslate import LibreTranslate
from .logs import ObservedRequests
from .openapi import specification
from .service import Service


def create_app(
    service: Service, *, origins: Sequence[str] = ("*",), page: Path | None = None
) -> Starlette:
    """The application.

    Args:
        origins: web sites whose pages may use the service; "*" is all of them
        page: the folder of the page that is shown at /
    """
    apis: list[Route] = [
        *LibreTranslate(service).routes(),
        *mtran.routes(service),
        *deepl.routes(service),
        *deeplx.routes(service),
        *immersive.routes(service),
        *stream.routes(service),
        *operations.routes(service, cache(lambda: specification(service))),
    ]
    middleware = [
        Middleware(ObservedRequests, metrics=service.metrics, paths=[route.path for route in apis]),
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
            allow_private_network=True,
        ),
    ]
    routes: list[BaseRoute] = [*apis]
    if page is not None:
        routes.append(Mount("/", StaticFiles(directory=page, html=True)))
    handlers: Any = {HTTPException: _http_error, Exception: _bug}
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)


def page_folder() -> Path | None:
    """Where the page's files are, if this installation has them."""
    folder = Path(str(files("tfm.runtime").joinpath("web", "assets")))
    return folder if (folder / "index.html").is_file() else None


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _bug(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": "internal error"}, 500)
