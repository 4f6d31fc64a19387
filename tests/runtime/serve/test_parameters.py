"""Parameters as they come: what is strange is refused, or means what it says."""

import asyncio
from typing import Any

import pytest
from helpers.needs import needs_module

from tfm.runtime.serve.errors import RequestError
from tfm.runtime.serve.limits import ServiceLimits


@pytest.fixture(autouse=True)
def needed() -> None:
    for module in ("starlette", "python_multipart"):
        needs_module(module)


def read_form(kind: str, part: bytes) -> Any:
    from starlette.requests import Request

    from tfm.runtime.serve.parameters import read_parameters

    body = b"--x\r\nContent-Disposition: form-data; " + part + b"\r\n--x--\r\n"

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", f"multipart/form-data; boundary=x{kind}".encode())]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
    return asyncio.run(read_parameters(Request(scope, receive), ServiceLimits()))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (" " * 25 + "5", 5),
        ("0" * 25 + "3", 3),
        ("0" * 30, 0),
        (" 7 ", 7),
        ("1" * 5000, int("1" * 20)),
    ],
    ids=["blanks", "zeros", "zero", "blank", "digits"],
)
def test_whole_numbers_of_any_length(text: str, number: int) -> None:
    from tfm.runtime.serve.parameters import Parameters

    assert Parameters({"n": text}, is_json=False).integer("n") == number


@pytest.mark.parametrize("charset", ["undefined", "punycode"])
def test_a_form_in_a_strange_encoding(charset: str) -> None:
    with pytest.raises(RequestError, match="no multipart form") as caught:
        read_form(f";charset={charset}", b'name="q"\r\n\r\nxn--a--\xff')
    assert caught.value.status == 400


def test_the_name_of_a_file_is_text() -> None:
    part = b'name="file"; filename="a+2AA-.txt"\r\n\r\nx'
    with pytest.raises(RequestError, match="filename has half a character"):
        read_form(";charset=utf-7", part)
    assert read_form("", part).file("file").name == "a+2AA-.txt"
