"""Parsed TOML or JSON into dataclasses, with every key and type checked."""

import dataclasses
import types
import typing
from typing import Any, Literal, TypeVar

from .errors import TrainError

T = TypeVar("T")


def from_tree(kind: type[T], tree: Any, where: str) -> T:
    """Build the dataclass `kind` from parsed TOML or JSON, refusing what it does not declare.

    Raises:
        TrainError: naming the key, its value and what is allowed
    """
    if not isinstance(tree, dict):
        raise TrainError(f"{where}: expected a table, got {tree!r}")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in tree:
        if key not in fields:
            raise TrainError(f"{where}: unknown key {key!r}; known keys: {', '.join(fields)}")
    for name, f in fields.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in tree:
            raise TrainError(f"{where}: missing key {name!r}")
    return kind(
        **{key: _convert(hints[key], value, f"{where}: {key}") for key, value in tree.items()}
    )


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return from_tree(typing.cast(type, hint), value, where)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _convert(arguments[0], value, where)
    if origin is Literal:
        if value not in arguments:
            raise TrainError(
                f"{where} = {value!r}: choose one of {', '.join(map(repr, arguments))}"
            )
        return value
    if origin is tuple and isinstance(value, list):
        items = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(items) != len(value):
            raise TrainError(f"{where} = {value!r}: expected {len(items)} values")
        return tuple(
            _convert(item, v, f"{where}[{i}]")
            for i, (item, v) in enumerate(zip(items, value, strict=True))
        )
    if origin is dict and isinstance(value, dict):
        return {key: _convert(arguments[1], v, f"{where}.{key}") for key, v in value.items()}
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise TrainError(f"{where} = {value!r}: expected {getattr(hint, '__name__', hint)}")
    return value
