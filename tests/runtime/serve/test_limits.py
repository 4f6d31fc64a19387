"""How much a client may ask for."""

from pathlib import Path

import pytest
from helpers.needs import needs_module

from tfm.runtime.serve.errors import RequestError
from tfm.runtime.serve.keys import ApiKeys, client_of, given_key, read_keys
from tfm.runtime.serve.limits import RateLimiter, ServiceLimits

needs_module("starlette")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def refused(limiter: RateLimiter, client: str, cost: int = 1) -> int:
    with pytest.raises(RequestError) as caught:
        limiter.admit(client, cost)
    assert caught.value.status == 429
    return int(caught.value.headers["Retry-After"])


def test_a_moving_window() -> None:
    clock = Clock()
    limiter = RateLimiter(3, clock=clock)
    limiter.admit("a")
    clock.now += 30
    limiter.admit("a", 2)
    assert refused(limiter, "a") == 30  # until the first one is a minute old
    assert refused(limiter, "a", 2) == 60
    limiter.admit("b", 3)
    clock.now += 30
    limiter.admit("a")
    refused(limiter, "a")
    clock.now += 30
    limiter.admit("a", 2)


def test_what_is_refused_does_not_count() -> None:
    clock = Clock()
    limiter = RateLimiter(1, clock=clock)
    limiter.admit("a")
    for _ in range(100):
        refused(limiter, "a")
    clock.now += 60
    limiter.admit("a")


def test_a_list_above_the_limit_is_let_in_once_a_minute() -> None:
    clock = Clock()
    limiter = RateLimiter(5, clock=clock)
    limiter.admit("a", 50)
    assert refused(limiter, "a") == 60


def test_no_limit() -> None:
    limiter = RateLimiter(-1)
    for _ in range(1000):
        limiter.admit("a", 1000)


def test_it_forgets_clients() -> None:
    clock = Clock()
    limiter = RateLimiter(1, clock=clock)
    for number in range(25_000):
        limiter.admit(str(number))
    assert len(limiter._asked) <= 10_001
    refused(limiter, "24999")


def test_texts() -> None:
    limits = ServiceLimits(char_limit=3, batch_limit=2, alternatives_limit=4)
    limits.check_texts(["abc", "好好好"])
    limits.check_alternatives(4)
    for wrong in (["abcd"], ["a"] * 3):
        with pytest.raises(RequestError) as caught:
            limits.check_texts(wrong, 413)
        assert caught.value.status == 413
    with pytest.raises(RequestError):
        limits.check_alternatives(5)
    ServiceLimits().check_texts(["a" * 10**6] * 1000)


def test_keys() -> None:
    assert ApiKeys().allows(None)
    keys = ApiKeys(["one", "two"])
    assert [keys.allows(key) for key in ("one", "two", "One", "", None, "\ud800")] == [
        *(True, True, False, False, False, False)
    ]
    assert read_keys("# who\none\n\n  two  \n") == ["one", "two"]
    assert not any("one" in str(value) for value in vars(keys).values())


def test_a_file_of_keys_may_begin_with_a_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfm.runtime.commands.serve import _read_keys, serve

    monkeypatch.delenv("TFM_API_KEYS", raising=False)
    path = tmp_path / "keys.txt"
    path.write_bytes("\ufeffone\r\ntwo\r\n".encode())
    with serve.make_context("serve", ["--api-keys", str(path)]) as context:
        keys = _read_keys(context.params["key_file"])
    assert [keys.allows(key) for key in ("one", "two", "\ufeffone")] == [True, True, False]


def test_where_a_key_may_be() -> None:
    assert given_key({"authorization": "Bearer k"}, {}, {}) == "k"
    assert given_key({"authorization": "deepl-auth-key  k"}, {}, {}) == "k"
    assert given_key({"authorization": "k"}, {}, {}) == "k"
    assert given_key({}, {"token": "k"}, {}) == "k"
    assert given_key({"authorization": "Bearer x"}, {"api_key": "y"}, {"api_key": "k"}) == "k"
    assert given_key({"authorization": "Bearer"}, {"api_key": ""}, {"api_key": 5}) is None
    assert given_key({}, {}, {}) is None


def test_clients() -> None:
    assert client_of(None, "::1") != client_of("::1", "::1")
    assert "secret" not in client_of("secret", "::1")
