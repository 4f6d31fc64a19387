"""Whatever comes in, the answer is the error of its API, and the next request is answered."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers.service import RunningService, running_service

from tfm.runtime.documents import parse_html, parse_text
from tfm.runtime.serve.detection import detect_languages

HUGE = "今天天气很好。" * 50_000  # 1 MB in UTF-8


class Api:
    """An address, a request that is right, and the shape of its errors."""

    def __init__(self, path: str, body: dict[str, Any], text: str, target: str, error: str) -> None:
        self.path, self.body, self.text, self.target, self.error = path, body, text, target, error

    def without(self, name: str) -> dict[str, Any]:
        return {key: value for key, value in self.body.items() if key != name}

    def with_text(self, text: Any) -> dict[str, Any]:
        is_list = isinstance(self.body[self.text], list)
        return {**self.body, self.text: [text] if is_list else text}


APIS = [
    Api("/translate", {"q": "好", "source": "zh", "target": "en"}, "q", "target", "error"),
    Api("/translate", {"text": "好", "from": "zh", "to": "en"}, "text", "to", "error"),
    Api("/translate/batch", {"texts": ["好"], "from": "zh", "to": "en"}, "texts", "to", "error"),
    Api(
        "/v2/translate", {"text": ["好"], "target_lang": "EN-US"}, "text", "target_lang", "message"
    ),
    Api("/deeplx", {"text": "好", "target_lang": "EN"}, "text", "target_lang", "message"),
    Api("/imme", {"text_list": ["好"], "target_lang": "en"}, "text_list", "target_lang", "error"),
    Api("/tfm/translate", {"q": "好", "source": "zh", "target": "en"}, "q", "target", "error"),
]
each_api = pytest.mark.parametrize("api", APIS, ids=lambda api: f"{api.path} {api.text}")


@pytest.fixture(autouse=True)
def nothing_else_is_harmed(service: RunningService) -> Iterator[None]:
    yield
    assert service.translate("我爱你。") == {"translatedText": "I love you."}


def refused(service: RunningService, api: Api, body: Any, status: int = 400, **how: Any) -> str:
    found, answer, _ = service.ask(api.path, body, **how)
    assert found == status, answer
    message: str = answer[api.error]
    assert message
    assert "Traceback" not in message
    return message


@each_api
def test_what_is_right(service: RunningService, api: Api) -> None:
    status, _, _ = service.ask(api.path, api.body)
    assert status == 200


@each_api
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"1" * 5000,
        b"[" * 100_000,
        b"\xff\xfe\x00binary",
        b'{"q": NaN}',
        b"\x00" * 1000,
    ],
    ids=["cut", "list", "text", "null", "digits", "nested", "binary", "nan", "zeros"],
)
def test_no_json(service: RunningService, api: Api, body: bytes) -> None:
    refused(service, api, body)


@each_api
def test_a_wrong_form(service: RunningService, api: Api) -> None:
    refused(service, api, None, form=b"%ff%fe&&&=\xff")
    multipart = {"Content-Type": "multipart/form-data; boundary=x"}
    refused(service, api, b"--x\r\nnonsense", headers=multipart)
    refused(service, api, b"--x", headers={"Content-Type": "multipart/form-data"})


@each_api
def test_a_wrong_language(service: RunningService, api: Api) -> None:
    for wrong in ("xx", "en-", "zh-TW", "\x00", "语言"):
        refused(service, api, {**api.body, api.target: wrong})
    for wrong in (5, ["en"], None, {}, True):
        refused(service, api, {**api.body, api.target: wrong})


@each_api
def test_a_missing_parameter(service: RunningService, api: Api) -> None:
    for name in (api.text, api.target):
        message = refused(service, api, api.without(name))
        # Which of the two APIs at /translate was meant nobody can know.
        assert name in message or api.body.keys() >= {"from", "text"}


@each_api
def test_empty_and_wrong_texts(service: RunningService, api: Api) -> None:
    for wrong in ("" if api.body[api.text] == "好" else [], None, 5, {}, [5], [None], [["好"]]):
        refused(service, api, {**api.body, api.text: wrong})
    assert "half a character" in refused(service, api, api.with_text("\ud800"))


@each_api
def test_strange_texts_are_texts(service: RunningService, api: Api) -> None:
    for text in (" ", "\n\n", "\x00\x01", "🙂🙂", "\ufeff", "a\u202eb", "%%%", "{}", "&lt;", "0"):
        status, answer, _ = service.ask(api.path, api.with_text(text))
        assert status == 200, (text, answer)


@each_api
def test_too_much_text(service: RunningService, api: Api) -> None:
    refused(service, api, api.with_text(HUGE), 413)
    form = f"{api.text}=" + "%E4" * 400_000
    refused(service, api, None, 413, form=form)


@each_api
def test_the_wrong_method(service: RunningService, api: Api) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        status, _, headers = service.ask(api.path, method=method)
        assert (status, headers["Allow"]) == (405, "POST"), method


@each_api
def test_a_missing_and_a_wrong_key(limited: RunningService, api: Api) -> None:
    missing = {"/translate": 400, "/v2/translate": 403, "/tfm/translate": 403}.get(api.path, 401)
    message = refused(limited, api, api.body, missing)
    assert "key" in message
    refused(limited, api, api.body, 403, headers={"Authorization": "Bearer wrong"})
    for headers in (
        {"Authorization": "Bearer right"},
        {"Authorization": "DeepL-Auth-Key other"},
        {"Authorization": "right"},
    ):
        assert limited.ask(api.path, api.body, headers=headers)[0] == 200
    assert limited.ask(f"{api.path}?token=right", api.body)[0] == 200
    assert limited.ask(api.path, {**api.body, "api_key": "right"})[0] == 200


@each_api
def test_more_than_the_limits(limited: RunningService, api: Api) -> None:
    key = {"Authorization": "Bearer right"}
    status = 413 if api.path == "/v2/translate" else 400
    assert "40" in refused(limited, api, api.with_text("长" * 41), status, headers=key)
    if isinstance(api.body[api.text], list):
        assert "4 texts" in refused(
            limited, api, {**api.body, api.text: ["好"] * 4}, status, headers=key
        )


def test_what_has_no_address(service: RunningService) -> None:
    for path in ("/nothing", "/translate/nothing", "/../etc/passwd", "/%2e%2e/etc/passwd"):
        status, answer, _ = service.ask(path)
        assert status == 404
        assert "root:" not in str(answer)


def test_wrong_options(service: RunningService) -> None:
    right = {"q": "好", "source": "zh", "target": "en"}
    for path, wrong in (
        ("/translate", {"alternatives": -1}),
        ("/translate", {"alternatives": 11}),
        ("/translate", {"alternatives": 1.5}),
        ("/translate", {"alternatives": "x"}),
        ("/translate", {"alternatives": True}),
        ("/translate", {"format": "pdf"}),
        ("/translate", {"format": 5}),
        ("/tfm/translate", {"partial": 1}),
        ("/tfm/translate", {"doubts": "true"}),
    ):
        status, answer, _ = service.ask(path, {**right, **wrong})
        assert status == 400, (wrong, answer)
        assert next(iter(wrong)) in answer["error"]
    status, answer, _ = service.ask(
        "/v2/translate", {"text": ["好"], "target_lang": "EN", "formality": "more"}
    )
    assert (status, "formality" in answer["message"]) == (400, True)


class TestSlowClients:
    """The service is not kept by who sends nothing."""

    @pytest.fixture
    def connect(self, service: RunningService) -> Iterator[Callable[[bytes], socket.socket]]:
        opened: list[socket.socket] = []
        host, port = service.url.removeprefix("http://").split(":")

        def connect(data: bytes) -> socket.socket:
            connection = socket.create_connection((host, int(port)), timeout=30)
            connection.sendall(data)
            opened.append(connection)
            return connection

        yield connect
        for connection in opened:
            connection.close()

    def test_others_are_served_meanwhile(
        self, service: RunningService, connect: Callable[[bytes], socket.socket]
    ) -> None:
        head = b"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        body = json.dumps({"q": "我爱你。", "source": "zh", "target": "en"}).encode()
        for _ in range(50):
            connect(head)
            connect(head + b"Content-Length: 500\r\n\r\n{")
        slow = connect(head + f"Content-Length: {len(body)}\r\n\r\n".encode())
        begun = time.monotonic()
        assert service.translate("我爱你。") == {"translatedText": "I love you."}
        assert time.monotonic() - begun < 10
        for begin in range(0, len(body), 7):
            slow.sendall(body[begin : begin + 7])
            time.sleep(0.01)
        assert b"I love you." in _all_of(slow)

    def test_binary_is_no_request(self, connect: Callable[[bytes], socket.socket]) -> None:
        assert connect(b"\x16\x03\x01\x00\xff\x00" * 50).recv(100).startswith(b"HTTP/1.1 400")

    @pytest.mark.slow
    def test_a_head_that_does_not_end(
        self, service: RunningService, connect: Callable[[bytes], socket.socket]
    ) -> None:
        connection = connect(b"POST /translate HTTP/1.1\r\nHost: x\r\n")
        begun = time.monotonic()
        connection.settimeout(3)
        with pytest.raises(OSError):
            while time.monotonic() - begun < 30:
                connection.sendall(b"X-More: 1\r\n")
                time.sleep(0.5)
                if service.process.poll() is not None:
                    break
        assert 5 < time.monotonic() - begun < 20

    def test_a_body_that_does_not_come(self) -> None:
        with running_service("-m", "zh-en", "--body-timeout", "0.5", "--threads", "1") as running:
            host, port = running.url.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port)), timeout=30) as connection:
                connection.sendall(
                    b"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n"
                    b"Content-Type: application/json\r\n\r\n{"
                )
                assert _all_of(connection).startswith(b"HTTP/1.1 408")


def _all_of(connection: socket.socket) -> bytes:
    """What comes until the end of a JSON object."""
    received = b""
    while not received.endswith(b"}"):
        part = connection.recv(4096)
        if not part:
            break
        received += part
    return received


@pytest.mark.parametrize(
    "part", ["a", "a.", "a+.", "http://", "( a ", "1. ", '?"', "“", "a@", "<", "&"]
)
def test_no_text_is_hard_to_take_apart(part: str) -> None:
    """Regular expressions hold the interpreter's lock: one that takes minutes stops everyone."""
    text = part * (100_000 // len(part))
    begun = time.process_time()
    parse_text(text, "en", "zh")
    detect_languages(text, ["en", "zh"])
    parse_html(text[:50_000], "en", "zh")
    assert time.process_time() - begun < 5
