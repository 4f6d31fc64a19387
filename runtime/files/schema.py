"""Parsed TOML or JSON into dataclasses: every key, type and limit is checked.

A dataclass is its own schema. Types may be bool, int, float, str, Literal, tuples, dictionaries
with text as keys, unions, and other dataclasses. The limits of a number are declared at its field:

    steps: int = limited(100, low=1)
    dropout: float = limited(0.1, low=0, below=1)
"""

import dataclasses
import math
import types
import typing
from typing import Any, Literal, TypeVar

from tfm.runtime.errors import TfmError

from .display import quoted

T = TypeVar("T")

_LIMITS, _INTERNAL = "limits", "internal"
_NAMES = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    tuple: "a list",
    dict: "a table",
}


class SchemaError(TfmError):
    """A key or a value that the dataclass does not allow."""


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What a number may be: low and high are allowed themselves, above and below are not."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    def allow(self, value: float) -> bool:
        """Whether the value is within the limits."""
        return (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """Such as "0 to below 1" or "at least 1"."""
        first = "" if self.low is None else f"{self.low:.12g}"
        first = first if self.above is None else f"above {self.above:.12g}"
        last = "" if self.high is None else f"{self.high:.12g}"
        last = last if self.below is None else f"below {self.below:.12g}"
        if first and last:
            return f"{first} to {last}"
        if self.high is not None:
            return f"at most {last}"
        return f"at least {first}" if self.low is not None else f"a number {first or last}"


def limited(
    default: Any = dataclasses.MISSING,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Any:
    """A dataclass field with limits; they hold for every number in a tuple or a dictionary too."""
    metadata = limits(low=low, high=high, above=above, below=below)
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def limits(
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> dict[str, Any]:
    """The metadata of a field with limits, for a field that needs a default_factory."""
    return {_LIMITS: Limits(low, high, above, below)}


def internal(default: Any) -> Any:
    """A dataclass field that is no key of the file and does not count in comparisons."""
    return dataclasses.field(default=default, repr=False, compare=False, metadata={_INTERNAL: True})


def load_dataclass(
    kind: type[T],
    tree: Any,
    where: str = "",
    *,
    unknown_keys: Literal["refuse", "ignore"] = "refuse",
) -> T:
    """Build the dataclass `kind` from parsed TOML or JSON.

    Args:
        where: what errors begin with, such as the name of the file
        unknown_keys: what to do with keys that the dataclass does not declare

    Raises:
        SchemaError: in one line, the key, its value and what is allowed. A TfmError or
            ValueError that the dataclass raises in __post_init__ becomes one, too
    """
    value = _dataclass(kind, tree, _Location(where), unknown_keys == "refuse")
    return typing.cast(T, value)


@dataclasses.dataclass(frozen=True, slots=True)
class _Location:
    """Where in the file a value stands."""

    where: str
    path: str = ""  # such as data.train[0].weight

    def key(self, name: str) -> "_Location":
        return _Location(self.where, f"{self.path}.{name}" if self.path else name)

    def index(self, number: int) -> "_Location":
        return _Location(self.where, f"{self.path}[{number}]")

    def error(self, problem: str) -> SchemaError:
        return SchemaError(": ".join(filter(None, (self.where, self.path, problem))))

    def refuse(self, value: Any, wanted: str) -> SchemaError:
        return SchemaError(
            ": ".join(filter(None, (self.where, f"{self.path} = {quoted(value)}", wanted)))
        )


def _dataclass(kind: type[Any], tree: Any, location: _Location, strict: bool) -> Any:
    if not isinstance(tree, dict):
        raise location.error(f"expected a table, got {quoted(tree)}")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind) if _INTERNAL not in f.metadata}
    for key in tree:
        if strict and key not in fields:
            raise location.error(f"unknown key {quoted(key)}; known keys: {', '.join(fields)}")
    values = {}
    for name, field in fields.items():
        if name in tree:
            limits = field.metadata.get(_LIMITS)
            values[name] = _convert(hints[name], tree[name], location.key(name), strict, limits)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise location.error(f"missing key {name!r}")
    try:
        return kind(**values)
    except (TfmError, ValueError) as error:
        raise location.error(str(error)) from error


def _convert(
    hint: Any, value: Any, location: _Location, strict: bool, limits: Limits | None
) -> Any:
    """The value as the type hint wants it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _dataclass(typing.cast(type, hint), value, location, strict)
    if origin in (types.UnionType, typing.Union):
        return _union(arguments, value, location, strict, limits)
    if origin is Literal:
        if not any(value == choice and type(value) is type(choice) for choice in arguments):
            raise location.refuse(value, f"choose one of {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple and isinstance(value, list):
        items = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(items) != len(value):
            raise location.refuse(value, f"expected {len(items)} values")
        return tuple(
            _convert(item, v, location.index(i), strict, limits)
            for i, (item, v) in enumerate(zip(items, value, strict=True))
        )
    if origin is dict and isinstance(value, dict):
        return {
            k: _convert(arguments[1], v, location.key(k), strict, limits) for k, v in value.items()
        }
    if hint is float and type(value) is int:
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
    if type(value) is not hint:
        raise location.refuse(value, f"expected {_name(hint)}")
    if hint in (int, float):
        if limits is not None and not limits.allow(value):
            raise location.refuse(value, f"choose {limits}")
        if hint is float and not math.isfinite(value):
            raise location.refuse(value, f"choose {limits or 'a finite number'}")
    return value


def _union(
    choices: tuple[Any, ...], value: Any, location: _Location, strict: bool, limits: Limits | None
) -> Any:
    """The first type of the union that takes the value."""
    if value is None and types.NoneType in choices:
        return None
    alternatives = [choice for choice in choices if choice is not types.NoneType]
    if len(alternatives) == 1:
        return _convert(alternatives[0], value, location, strict, limits)
    matching = [kind for kind in alternatives if type(value) is kind]
    for kind in matching or alternatives:
        try:
            return _convert(kind, value, location, strict, limits)
        except SchemaError:
            if matching:
                raise
    raise location.refuse(value, f"expected {' or '.join(map(_name, alternatives))}")


def _name(hint: Any) -> str:
    if dataclasses.is_dataclass(hint):
        return "a table"
    hint = typing.get_origin(hint) or hint
    return _NAMES.get(hint, getattr(hint, "__name__", str(hint)))
