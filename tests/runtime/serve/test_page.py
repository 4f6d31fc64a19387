"""The page beside the APIs."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from helpers.needs import needs_module

from tfm.runtime.bundled import bundled_model


class PageClient:
    """Asks an application without a server."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def request(self, method: str, path: str, **how: Any) -> Any:
        httpx = needs_module("httpx")

        async def ask() -> Any:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                return await client.request(method, path, **how)

        return asyncio.run(ask())

    def get(self, path: str, **how: Any) -> Any:
        return self.request("GET", path, **how)


@pytest.fixture
def client(tmp_path: Path) -> PageClient:
    """Of a service whose models are not loaded."""
    for module in ("starlette", "prometheus_client", "python_multipart"):
        needs_module(module)
    from tfm.runtime.serve.app import create_app
    from tfm.runtime.serve.models import Models
    from tfm.runtime.serve.service import Service

    page = tmp_path / "page"
    (page / "parts").mkdir(parents=True)
    (page / "index.html").write_text("<!doctype html><title>Page</title>", "utf-8")
    (page / "parts" / "worker.js").write_text("export {};\n", "utf-8")
    (tmp_path / "secret.txt").write_text("secret", "utf-8")
    service = Service(Models([bundled_model()]))
    return PageClient(create_app(service, page=page, origins=["https://example.org"]))


def test_its_files(client: PageClient) -> None:
    index = client.get("/")
    assert (index.status_code, "Page" in index.text) == (200, True)
    assert index.headers["content-type"].startswith("text/html")
    worker = client.get("/parts/worker.js")
    assert worker.headers["content-type"].startswith("text/javascript")
    for outside in ("/../secret.txt", "/%2e%2e/secret.txt", "/parts/..%2f..%2fsecret.txt"):
        assert client.get(outside).status_code == 404


def test_the_apis_go_before_it(client: PageClient) -> None:
    assert client.get("/tfm/info").json()["engine"] == "server"
    wrong = client.get("/translate")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert client.get("/nothing").json() == {"error": "Not Found"}
    assert client.get("/tfm/info").json()["models"][0]["variant"] is None
    body = {"q": "好", "source": "zh", "target": "en"}
    assert client.request("POST", "/translate", json=body).status_code == 503


def test_one_site_only(client: PageClient) -> None:
    allowed = client.get("/languages", headers={"Origin": "https://example.org"})
    assert allowed.headers["access-control-allow-origin"] == "https://example.org"
    other = client.get("/languages", headers={"Origin": "https://example.com"})
    assert "access-control-allow-origin" not in other.headers


def test_where_the_page_is() -> None:
    needs_module("starlette")
    needs_module("prometheus_client")
    from tfm.runtime.serve.app import page_folder

    folder = page_folder()
    assert folder is None or (folder / "index.html").is_file()
