"""Every key, type and limit of a dataclass holds, and the message names key, value and choice."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from tfm.runtime.errors import TfmError
from tfm.runtime.files.schema import SchemaError, internal, limited, limits, load_dataclass


@dataclass(frozen=True, kw_only=True)
class Inner:
    name: str
    weight: float = limited(1.0, low=0, high=1000)

    def __post_init__(self) -> None:
        if self.name == "bad":
            raise TfmError("name 'bad': choose another")


@dataclass(frozen=True, kw_only=True)
class Outer:
    size: int = limited(low=1)
    share: float = limited(0.5, low=0, below=1)
    rate: float | None = limited(None, above=0)
    most: int = limited(1, high=9)
    part: float = limited(0.5, above=0, high=1)
    betas: tuple[float, float] = limited((0.9, 0.98), low=0, below=1)
    ids: tuple[int, ...] = ()
    weights: dict[str, float] = field(default_factory=dict, metadata=limits(low=0))
    ratio: float = 1.0
    joint: bool = False
    choice: Literal["a", "b", 1] = "a"
    side: int | str = 0
    either: Inner | str | None = None
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    named: dict[str, Inner] = field(default_factory=dict)
    text: str = internal("")


def load(tree: Any, **options: Any) -> Outer:
    return load_dataclass(Outer, tree, "file", **options)


def test_values_are_converted() -> None:
    tree = {
        "size": 3,
        "rate": 1,
        "betas": [0, 0.5],
        "ids": [1, 2],
        "weights": {"a": 1},
        "side": "left",
        "either": {"name": "x"},
        "inner": {"name": "y", "weight": 2},
        "many": [{"name": "z"}],
        "named": {"n": {"name": "n"}},
    }
    loaded = load(tree)
    assert loaded == Outer(
        size=3,
        rate=1.0,
        betas=(0.0, 0.5),
        ids=(1, 2),
        weights={"a": 1.0},
        side="left",
        either=Inner(name="x"),
        inner=Inner(name="y", weight=2.0),
        many=(Inner(name="z"),),
        named={"n": Inner(name="n")},
    )
    assert type(loaded.rate) is float and type(loaded.betas[0]) is float
    assert load({"size": 1, "rate": None, "either": "text"}).either == "text"


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"sise": 3}, "file: unknown key 'sise'; known keys: size, share, rate, "),
    ({"text": "x"}, "file: unknown key 'text'"),
    ({"size": True}, "file: size = True: expected an integer"),
    ({"size": 1.0}, "file: size = 1.0: expected an integer"),
    ({"size": 0}, "file: size = 0: choose at least 1"),
    ({"share": 1}, "file: share = 1.0: choose 0 to below 1"),
    ({"share": float("nan")}, "file: share = nan: choose 0 to below 1"),
    ({"rate": 0}, "file: rate = 0.0: choose a number above 0"),
    ({"rate": float("inf")}, "file: rate = inf: choose a number above 0"),
    ({"most": 10}, "file: most = 10: choose at most 9"),
    ({"part": 0}, "file: part = 0.0: choose above 0 to 1"),
    ({"betas": [0.9, 1]}, "file: betas[1] = 1.0: choose 0 to below 1"),
    ({"betas": [0.9]}, "file: betas = [0.9]: expected 2 values"),
    ({"betas": 0.9}, "file: betas = 0.9: expected a list"),
    ({"ids": [1, "2"]}, "file: ids[1] = '2': expected an integer"),
    ({"weights": {"a": -1}}, "file: weights.a = -1.0: choose at least 0"),
    ({"weights": []}, "file: weights = []: expected a table"),
    ({"ratio": float("inf")}, "file: ratio = inf: choose a finite number"),
    ({"joint": 1}, "file: joint = 1: expected true or false"),
    ({"choice": "c"}, "file: choice = 'c': choose one of 'a', 'b', 1"),
    ({"choice": True}, "file: choice = True: choose one of 'a', 'b', 1"),
    ({"side": 1.5}, "file: side = 1.5: expected an integer or a string"),
    ({"side": None}, "file: side = None: expected an integer or a string"),
    ({"either": 3}, "file: either = 3: expected a table or a string"),
    ({"inner": 3}, "file: inner: expected a table, got 3"),
    ({"inner": {}}, "file: inner: missing key 'name'"),
    ({"inner": {"name": "bad"}}, "file: inner: name 'bad': choose another"),
    ({"many": [{"name": "a"}, {"name": 1}]}, "file: many[1].name = 1: expected a string"),
    (
        {"named": {"n": {"name": "a", "weight": -1}}},
        "file: named.n.weight = -1.0: choose 0 to 1000",
    ),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        load({"size": 3, **change})
    assert str(caught.value).startswith(message)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("tree", [None, [], "text"])
def test_what_is_no_table(tree: Any) -> None:
    with pytest.raises(SchemaError, match="file: expected a table, got "):
        load(tree)


def test_a_missing_key_and_no_name_of_a_file() -> None:
    with pytest.raises(SchemaError, match=r"^missing key 'size'$"):
        load_dataclass(Outer, {})


def test_unknown_keys_may_be_ignored_at_every_level() -> None:
    tree = {"size": 1, "later": 2, "inner": {"name": "a", "later": 3}}
    assert load(tree, unknown_keys="ignore") == Outer(size=1, inner=Inner(name="a"))
    with pytest.raises(SchemaError):
        load(tree)


def test_limits_do_not_change_the_dataclass() -> None:
    assert dataclasses.asdict(Outer(size=0))["share"] == 0.5
    with pytest.raises(TypeError, match="size"):
        Outer()  # type: ignore[call-arg]
