"""The page before a server: what it asks for, and what it makes of the answers.

The server here knows the contract and nothing else; its translations are in capitals.
"""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.browser import chromium
from helpers.needs import needs_module
from helpers.paths import ROOT

from tfm.runtime.documents import split_sentences

pytestmark = pytest.mark.slow

expect = needs_module("playwright.sync_api").expect
ASSETS = ROOT / "runtime" / "web" / "assets"


class _Contract(http.server.SimpleHTTPRequestHandler):
    """Answers of a server; `asked` has what it was asked for."""

    asked: list[dict[str, Any]]
    settings: dict[str, Any]

    def do_GET(self) -> None:
        if self.path == "/tfm/info":
            models = [
                {
                    "source": source,
                    "target": target,
                    "name": f"{source}-{target}",
                    "variant": "int8",
                }
                for source, target in (("en", "zh"), ("zh", "en"))
            ]
            self._json(200, {"version": "1.2.3", "models": models, "engine": "server"})
        elif self.path == "/frontend/settings":
            self._json(200, self.settings)
        else:
            super().do_GET()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body)
        text = body["q"]
        if len(text) > self.settings["charLimit"] >= 0:
            self._json(400, {"error": "too long"})
            return
        if "busy" in text:
            self._json(429, {"error": "Slowdown: too many requests"})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        spans = split_sentences(text)
        places = [{"index": i, "begin": b, "end": e} for i, (b, e) in enumerate(spans)]
        self._event("start", {"source": "en", "target": "zh", "sentences": places})
        for place in places:
            said = text[place["begin"] : place["end"]].upper()
            if "BROKEN" in said:
                self._event("error", {"error": "the model broke"})
                return
            self._event("partial", {"index": place["index"], "text": said[:3]})
            self._event("sentence", self._sentence(place, said, body))
        self._event("end", {"text": text.upper()})

    def _sentence(self, place: dict[str, int], said: str, body: dict[str, Any]) -> dict[str, Any]:
        words = said.split(" ")
        ends = [sum(map(len, words[: i + 1])) + i for i in range(len(words))]
        starts = [0, *ends[:-1]]
        alignment = [[a, b, a, b] for a, b in zip(starts, ends, strict=True)]
        others = [{"text": f"{said} {i}", "score": -i} for i in range(body["alternatives"])]
        return {
            **place,
            "text": said,
            "score": -0.5,
            "truncated": False,
            "alternatives": others,
            "alignment": alignment if body["alignment"] else None,
            "doubts": ["numbers"] if "7" in said and body["doubts"] else [],
        }

    def _event(self, name: str, data: dict[str, Any]) -> None:
        self.wfile.write(f"event: {name}\r\ndata: {json.dumps(data)}\r\n\r\n".encode())

    def _json(self, status: int, data: dict[str, Any]) -> None:
        content = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    made = {"asked": [], "settings": {"charLimit": 2000, "keyRequired": False}}
    handler = type("Handler", (_Contract,), made)

    def handle(*arguments: Any) -> Any:
        return handler(*arguments, directory=str(ASSETS))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handle) as opened:
        opened.handler = handler  # type: ignore[attr-defined]
        thread = threading.Thread(target=opened.serve_forever, daemon=True)
        thread.start()
        yield opened
        opened.shutdown()
        thread.join()


@pytest.fixture
def page(browser: Any, server: Any) -> Iterator[Any]:
    context = browser.new_context()
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.goto(f"http://127.0.0.1:{server.server_address[1]}/")
    expect(opened.locator("#about")).to_contain_text("tfm 1.2.3")
    yield opened
    assert wrong == []
    context.close()


def asked(server: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.handler.asked
    return found


def test_sentences_come_from_the_server(page: Any, server: Any) -> None:
    page.fill("#source", "Hello world. It is 7.\n\n- Bye\n")
    expect(page.locator("#announcement")).to_have_text("3 sentences translated")
    assert page.locator("#target").inner_text() == "HELLO WORLD.IT IS 7.\n\n- BYE\n"
    (request,) = asked(server)
    assert request["q"] == "Hello world.\nIt is 7.\nBye"
    assert (request["source"], request["target"]) == ("en", "zh")
    assert request["alignment"] and request["doubts"] and request["partial"]
    expect(page.locator("#doubt-list .reason")).to_have_text("the numbers differ")
    page.locator(".word", has_text="WORLD").hover()
    assert page.locator("#mirror mark").all_inner_texts() == ["world."]


def test_only_what_changed_is_asked_again(page: Any, server: Any) -> None:
    page.fill("#source", "One. Two.")
    expect(page.locator("#target")).to_have_text("ONE.TWO.")
    page.fill("#source", "One. Three.")
    expect(page.locator("#target")).to_have_text("ONE.THREE.")
    assert [request["q"] for request in asked(server)] == ["One.\nTwo.", "Three."]


def test_alternatives(page: Any, server: Any) -> None:
    page.fill("#source", "One.")
    page.locator(".sentence .word").first.click()
    expect(page.locator("#alternatives button")).to_have_text(
        ["ONE.", "ONE. 0", "ONE. 1", "ONE. 2", "ONE. 3"]
    )
    assert asked(server)[-1]["alternatives"] == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("I am busy.", "Slowdown: too many requests"),
        ("It is broken.", "the model broke"),
    ],
)
def test_errors_are_one_clear_line(page: Any, text: str, message: str) -> None:
    page.fill("#source", text)
    expect(page.locator("#error")).to_have_text(message)
    page.fill("#source", "Fine.")
    expect(page.locator("#target")).to_have_text("FINE.")
    expect(page.locator("#error")).to_be_hidden()


def test_long_texts_are_asked_for_in_parts(page: Any, server: Any) -> None:
    sentences = [f"This is number {number}." for number in range(300)]
    page.fill("#source", " ".join(sentences))
    expect(page.locator("#announcement")).to_have_text("300 sentences translated")
    assert len(asked(server)) > 2
    assert page.locator("#target").inner_text() == "".join(sentences).upper()


def test_a_server_that_is_gone(page: Any, server: Any) -> None:
    server.shutdown()
    server.server_close()
    page.fill("#source", "One.")
    expect(page.locator("#error")).to_have_text("The server cannot be reached: is it running?")
    expect(page.locator(".sentence.waiting")).to_have_count(1)


def test_an_api_key_is_asked_for_and_sent(browser: Any, server: Any) -> None:
    server.handler.settings = {"charLimit": -1, "keyRequired": True}
    context = browser.new_context()
    page = context.new_page()
    page.on("dialog", lambda dialog: dialog.accept("secret"))
    page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
    page.fill("#source", "One.")
    expect(page.locator("#target")).to_have_text("ONE.")
    assert asked(server)[-1]["api_key"] == "secret"
    context.close()
