"""API keys: who may use the service."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

_SCHEMES = ("bearer", "deepl-auth-key")


class ApiKeys:
    """The keys that are let in. Only their hashes are kept, and compared: what a comparison takes
    says nothing about a key."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        """None at all lets everyone in."""
        self._digests = {_digest(key) for key in keys}

    @property
    def required(self) -> bool:
        """Whether a request needs one."""
        return bool(self._digests)

    def allows(self, key: str | None) -> bool:
        """Whether a request with this key, or without one, is let in."""
        return not self._digests or (key is not None and _digest(key) in self._digests)


def given_key(
    headers: Mapping[str, str], query: Mapping[str, str], body: Mapping[str, Any]
) -> str | None:
    """The key of a request, in any of the places where the APIs have it: the header
    `Authorization` (Bearer, DeepL-Auth-Key, or the key alone), `api_key` or `token` of the body or
    the query."""
    for values in (body, query):
        for name in ("api_key", "token"):
            value = values.get(name)
            if isinstance(value, str) and value:
                return value
    scheme, _, rest = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() in _SCHEMES:
        return rest.strip() or None
    return scheme or None


def read_keys(text: str) -> list[str]:
    """The keys in a file's text: one in each line; empty lines and those with # are none."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def client_of(key: str | None, address: str) -> str:
    """What tells one client from others: its key, else its address."""
    return f"address {address}" if key is None else f"key {_digest(key)[:16]}"


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
