"""The parameters of a request: JSON, a form, or the query, checked for what they must be."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from .errors import RequestError, bad_request, missing
from .limits import ServiceLimits

_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_MOST_FIELDS = 10_000
# Of a request that is too large the rest is read, so that a client who sends it all before it looks
# sees the answer; up to so many bytes.
_MOST_DISCARDED = 10_000_000


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file of a multipart form: its name, without folders, and its content."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Parameters:
    """Values by name, those of the body before those of the query.

    Attributes:
        values: in a form and a query all are texts, or lists of them where a name comes twice
        is_json: they come from JSON, where types count
        files: of a multipart form, by name
    """

    values: dict[str, Any]
    is_json: bool
    files: dict[str, UploadedFile] = field(default_factory=dict)

    def file(self, name: str) -> UploadedFile:
        """A file.

        Raises:
            RequestError: it is missing
        """
        if name not in self.files:
            raise missing(name)
        return self.files[name]

    def text(self, name: str, default: str | None = None) -> str:
        """A text that is not empty.

        Raises:
            RequestError: it is missing, without a default, or is none
        """
        value = self.values.get(name)
        if value is None or value == "":
            if default is None:
                raise missing(name)
            return default
        if not isinstance(value, str):
            raise bad_request(f"the parameter {name} must be a text")
        return _checked(name, value)

    def texts(self, name: str) -> tuple[list[str], bool]:
        """One text that is not empty, or a list of any; and whether it was a list.

        Raises:
            RequestError: it is missing, or has something else in it
        """
        value = self.values.get(name)
        if not isinstance(value, list):
            return [self._lines(self.text(name))], False
        if not value:
            raise missing(name)
        if not all(isinstance(text, str) for text in value):
            raise bad_request(f"the parameter {name} must be a text or a list of texts")
        return [self._lines(_checked(name, text)) for text in value], True

    def integer(self, name: str, default: int = 0) -> int:
        """A whole number, at least 0.

        Raises:
            RequestError: it is none
        """
        value = self.values.get(name, default)
        if not self.is_json and isinstance(value, str) and value.strip().isdecimal():
            value = int(value.strip().lstrip("0")[:20] or "0")
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # JSON does not tell 1.0 from 1
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise bad_request(f"the parameter {name} must be a whole number, at least 0")
        return value

    def flag(self, name: str) -> bool:
        """True or false; false where it is missing.

        Raises:
            RequestError: it is something else
        """
        value = self.values.get(name, False)
        if not self.is_json and isinstance(value, str):
            value = {"true": True, "1": True, "false": False, "0": False, "": False}.get(
                value.lower()
            )
        if not isinstance(value, bool):
            raise bad_request(f"the parameter {name} must be true or false")
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of some words, the first where it is missing.

        Raises:
            RequestError: it is another
        """
        value = self.values.get(name)
        if value is None:
            return choices[0]
        if not isinstance(value, str) or value not in choices:
            named = " or ".join(filter(None, choices))
            raise bad_request(f"the parameter {name} must be {named}")
        return value

    def _lines(self, text: str) -> str:
        """Forms send line breaks as CRLF, whatever was typed."""
        return text if self.is_json else text.replace("\r\n", "\n")


async def read_parameters(request: Request, limits: ServiceLimits) -> Parameters:
    """All parameters of a request.

    Raises:
        RequestError: the body is too large (413), too slow (408), or not what it says it is (400)
        ClientDisconnect: the client left
    """
    body = await _read_body(request, limits)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    query = _from_query(request.url.query)
    if kind == _MULTIPART:
        values, files = await _from_multipart(request, body, limits)
        return Parameters(query | values, False, files)
    if kind == _FORM:
        return Parameters(query | _from_query(_decoded(body)), is_json=False)
    if not body.strip():
        return Parameters(query, is_json=False)
    return Parameters(query | _from_json(body), is_json=True)


async def _read_body(request: Request, limits: ServiceLimits) -> bytes:
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(limits.body_timeout):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= limits.body_limit:
                    body += chunk
                elif size > limits.body_limit + _MOST_DISCARDED:
                    break
    except TimeoutError:
        raise RequestError(
            408, f"the request did not come within {limits.body_timeout:g} seconds"
        ) from None
    if size > limits.body_limit:
        raise RequestError(413, f"the request is too large: the limit is {limits.body_limit} bytes")
    return bytes(body)


def _from_json(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(_decoded(body))
    except (ValueError, RecursionError):
        raise bad_request("the body is no JSON") from None
    if not isinstance(values, dict):
        raise bad_request("the body must be a JSON object")
    return values


def _from_query(query: str) -> dict[str, Any]:
    try:
        fields = parse_qs(query, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise bad_request("there are too many parameters") from None
    return {name: values if len(values) > 1 else values[0] for name, values in fields.items()}


async def _from_multipart(
    request: Request, body: bytes, limits: ServiceLimits
) -> tuple[dict[str, Any], dict[str, UploadedFile]]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(
        request.headers, stream(), max_fields=_MOST_FIELDS, max_part_size=limits.body_limit
    )
    try:
        form = await parser.parse()
    except (MultiPartException, LookupError, UnicodeError):
        raise bad_request("the body is no multipart form") from None
    found: dict[str, list[str]] = {}
    files: dict[str, UploadedFile] = {}
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                file_name = PurePosixPath((value.filename or "").replace("\\", "/")).name
                files[name] = UploadedFile(_checked("filename", file_name), await value.read())
            else:
                found.setdefault(name, []).append(value)
    finally:
        await form.close()
    values = {name: texts if len(texts) > 1 else texts[0] for name, texts in found.items()}
    return values, files


def _decoded(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise bad_request("the body is not UTF-8") from None


def _checked(name: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise bad_request(f"the parameter {name} has half a character in it") from None
    return text


__all__ = ["ClientDisconnect", "Parameters", "read_parameters"]
