"""Mutants of config.json that know what JSON is."""

import json
import random
from collections.abc import Iterator
from typing import Any

from .mutation import Allowed, Mutation

Path = tuple[str | int, ...]

DEEP = 100_000
# As JSON text, for Python's own objects cannot say all of it.
STRANGE = (
    *("null", "true", "false", "0", "-1", "1", "1.5", "-0.0", "1e400", "-1e400", "NaN", "Infinity"),
    *("2147483647", "2147483648", "9223372036854775807", "9223372036854775808", "1" + "0" * 400),
    *("1" + "0" * 5000, "[]", "{}", "[[]]", '[1, "x", null]', '{"": null}', '""', '" "', '"x"'),
    *('"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"\\udfff x"', '"a\\nb"', '"a\\r\\nb"'),
    *('"\\u001b[31mred\\u001b[0m"', '"\\u001b]0;title\\u0007"', '"\\u009b31m"', '"\\u2028"'),
    *('"\\u202eabc"', '"\\u0008\\u0008\\u0008"', '"\\ufeff"', '"../../../etc/passwd"', '"/etc"'),
    *('"C:\\\\x"', '"."', '".."', '"./source.spm"', '"int8//weights.bin"', '"con"'),
    *(json.dumps("x" * 300), json.dumps("long " * 40_000), json.dumps("a/" * 3000)),
    *("[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP),
)
_CONTRADICTING = ("special_ids", "architecture")
_FREE = ("decoding", "language_token", "language_ids")
_MARK = "\ue000mark\ue000"


def mutate_json(text: str, rng: random.Random, variant: str) -> tuple[bytes, Mutation]:
    """One change to config.json.

    Args:
        variant: the variant that the runtime chooses; the others' files are not read
    """
    data = json.loads(text)
    if rng.random() < 0.06:
        return _whole_file(text, rng)
    mutate = rng.choices((_value, _number, _missing, _added, _swapped, _duplicated),
                         (10, 8, 3, 1, 4, 2))[0]  # fmt: skip
    return mutate(data, rng, variant)


def _value(data: Any, rng: random.Random, variant: str) -> tuple[bytes, Mutation]:
    """Something strange in the place of a value."""
    path = rng.choice([path for path, _ in walk(data) if path])
    strange = rng.choice(STRANGE)
    old = _get(data, path)
    _set(data, path, _MARK)
    text = json.dumps(data, ensure_ascii=False).replace(
        json.dumps(_MARK, ensure_ascii=False), strange
    )
    shown = strange if len(strange) < 40 else f"{strange[:20]}... ({len(strange)} characters)"
    same_type = _same_type(old, strange)
    allowed = _allowed(path, variant) if same_type else _allowed_of_wrong_type(path, variant)
    return text.encode("utf-8", "surrogatepass"), Mutation(
        "config.json: strange value", f"{_name(path)} = {shown}", allowed
    )


def _number(data: Any, rng: random.Random, variant: str) -> tuple[bytes, Mutation]:
    """A number that is near or far from what it should be."""
    paths = [p for p, value in walk(data) if isinstance(value, (int, float)) and p]
    path = rng.choice(paths)
    old = _get(data, path)
    new = rng.choice((old + 1, old - 1, old * 2, old // 2, old + 7, -old, 0, 1, 2, 3, 5, 10**6))
    if new == old:
        new = old + 3
    _set(data, path, new)
    return _encoded(data), Mutation(
        "config.json: number", f"{_name(path)}: {old} to {new}", _allowed(path, variant)
    )


def _missing(data: Any, rng: random.Random, variant: str) -> tuple[bytes, Mutation]:
    paths = [path for path, _ in walk(data) if path and isinstance(path[-1], str)]
    path = rng.choice(paths)
    parent = _get(data, path[:-1])
    if rng.random() < 0.5:
        del parent[path[-1]]
        kind = "config.json: key missing"
    else:
        parent[str(path[-1]) + rng.choice(("_", " ", "S", "\u0000"))] = parent.pop(path[-1])
        kind = "config.json: key renamed"
    allowed = Allowed.NOTHING
    if path[0] in ("decoding", "variants") or "language_ids" in path:
        # Options have defaults; a variant less is a folder of fewer variants.
        allowed = Allowed.ANOTHER if len(path) <= 2 else Allowed.THE_SAME
    return _encoded(data), Mutation(kind, _name(path), allowed)


def _added(data: Any, rng: random.Random, _variant: str) -> tuple[bytes, Mutation]:
    """A key that nobody knows is left alone."""
    path = rng.choice([p for p, value in walk(data) if isinstance(value, dict) and p != ()])
    _get(data, path)["added"] = 1
    allowed = Allowed.THE_SAME
    return _encoded(data), Mutation("config.json: key added", _name(path), allowed)


def _swapped(data: Any, rng: random.Random, variant: str) -> tuple[bytes, Mutation]:
    """Two values of one type in each other's place."""
    nodes = [(p, value) for p, value in walk(data) if p]
    path, value = rng.choice(nodes)
    others = [
        (p, other)
        for p, other in nodes
        if type(other) is type(value) and other != value and p[: len(path)] != path[: len(p)]
    ]
    if isinstance(value, dict):
        others = [(p, other) for p, other in others if other.keys() == value.keys()]
    if not others:
        return _number(data, rng, variant)
    other_path, other = rng.choice(others)
    _set(data, path, other)
    _set(data, other_path, value)
    both = {_allowed(path, variant), _allowed(other_path, variant)}
    allowed = Allowed.THE_SAME
    if Allowed.NOTHING in both and not isinstance(value, dict):
        allowed = Allowed.NOTHING
    elif both == {Allowed.ANOTHER}:
        allowed = Allowed.ANOTHER
    elif isinstance(value, dict) and {path[0], other_path[0]} == {"tokenizer"}:
        allowed = Allowed.ANOTHER  # a model from English to Chinese would look the same
    elif (isinstance(value, dict) and path[-1] == other_path[-1]) or len(path) == 2:
        allowed = Allowed.ANOTHER  # the same graph of another variant, or a whole variant
    return _encoded(data), Mutation(
        "config.json: swapped", f"{_name(path)} and {_name(other_path)}", allowed
    )


def _duplicated(data: Any, rng: random.Random, variant: str) -> tuple[bytes, Mutation]:
    """A key that stands twice, with another value the second time."""
    paths = [p for p, v in walk(data) if p and isinstance(p[-1], str) and not isinstance(v, dict)]
    path = rng.choice(paths)
    old = _get(data, path)
    new = rng.choice(("x", 3, None)) if not isinstance(old, str) else rng.choice(("x", 3))
    _set(data, path, _MARK)
    key = json.dumps(path[-1])
    marked = f"{key}: {json.dumps(_MARK, ensure_ascii=False)}"
    both = [f"{key}: {json.dumps(old)}", f"{key}: {json.dumps(new)}"]
    rng.shuffle(both)
    text = json.dumps(data, ensure_ascii=False).replace(marked, ", ".join(both))
    allowed = _allowed(path, variant)
    if allowed is Allowed.NOTHING:
        allowed = Allowed.THE_SAME  # the good value may be the one that counts
    return text.encode("utf-8"), Mutation("config.json: key twice", _name(path), allowed)


def _whole_file(text: str, rng: random.Random) -> tuple[bytes, Mutation]:
    raw = text.encode("utf-8")
    kind, data, allowed = rng.choice(
        (
            ("empty", b"", Allowed.NOTHING),
            ("half", raw[: rng.randrange(1, len(raw) - 2)], Allowed.NOTHING),
            ("UTF-16", text.encode("utf-16"), Allowed.NOTHING),
            ("Latin-1", text.replace("tiny", "t\xefny").encode("latin-1", "replace"), None),
            ("byte order mark", b"\xef\xbb\xbf" + raw, Allowed.THE_SAME),
            ("not UTF-8", raw.replace(b'"name"', b'"name\xff"'), Allowed.NOTHING),
            ("text after the end", raw + b"{}", Allowed.NOTHING),
            ("in a list", b"[" + raw + b"]", Allowed.NOTHING),
            ("deep list", b"[" * DEEP, Allowed.NOTHING),
            ("deep object", b'{"a":' * DEEP, Allowed.NOTHING),
            ("32 MB of spaces", raw + b" " * (1 << 25), Allowed.THE_SAME),
            ("NUL bytes", b"\x00" * 4096, Allowed.NOTHING),
            ("a number", b"4", Allowed.NOTHING),
            ("CRLF", raw.replace(b"\n", b"\r\n"), Allowed.THE_SAME),
        )
    )
    return data, Mutation("config.json: whole file", kind, allowed or Allowed.THE_SAME)


def walk(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every node of a JSON document with its path, the document itself first."""
    yield path, node
    if isinstance(node, dict):
        for key, value in node.items():
            yield from walk(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from walk(value, (*path, index))


def _allowed(path: Path, variant: str) -> Allowed:
    """What another value of the right type may lead to."""
    if path[0] == "format_version":
        return Allowed.NOTHING
    if path[-1] == "path":
        return Allowed.THE_SAME  # size and hash say whether it is the right file
    if path[0] == "variants":
        if len(path) > 1 and path[1] != variant:
            return Allowed.THE_SAME
        return Allowed.NOTHING if len(path) > 2 else Allowed.ANOTHER
    if path[0] == "tokenizer":
        return Allowed.NOTHING if len(path) > 1 else Allowed.ANOTHER
    if any(key in path for key in _FREE) or path[0] == "max_source_length":
        return Allowed.ANOTHER
    return Allowed.THE_SAME  # special_ids, architecture, name, languages


def _allowed_of_wrong_type(path: Path, variant: str) -> Allowed:
    """What a value of another type may lead to."""
    if path[0] == "variants" and len(path) > 1 and path[1] != variant:
        return Allowed.THE_SAME
    if "language_ids" in path and len(path) > 2:
        return Allowed.ANOTHER
    return Allowed.NOTHING


def _same_type(old: Any, strange: str) -> bool:
    """Whether the JSON text could be a value of that place."""
    try:
        new = json.loads(strange)
    except (RecursionError, ValueError):
        return False
    if isinstance(old, bool) or isinstance(new, bool):
        return type(old) is type(new)
    if isinstance(old, float):
        return isinstance(new, (int, float))
    return type(new) is type(old)


def _get(data: Any, path: Path) -> Any:
    for key in path:
        data = data[key]
    return data


def _set(data: Any, path: Path, value: Any) -> None:
    _get(data, path[:-1])[path[-1]] = value


def _name(path: Path) -> str:
    return ".".join(str(key) for key in path)


def _encoded(data: Any) -> bytes:
    return json.dumps(data, indent=2).encode("utf-8")
