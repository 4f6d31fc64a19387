"""Every decoding option, declared once.

A field of `DecodingOptions` has its default, its range, its help and its names. Everything else
is derived from it: the options of the command line (commands/options.py), the checks, `decoding`
in config.json, the inputs of translate.onnx (sessions.py), the choice between graph and steps
(route.py), and the table in README.md. ARCHITECTURE.md shows how to add an option.
"""

import dataclasses
import math
import numbers
import typing
from dataclasses import dataclass
from typing import Any, Self

_METADATA = "tfm.option"
MOST_BEAMS = 1024  # memory grows with it, and no more have ever helped a translation
MOST_TOKENS = 1 << 16
LARGEST_INTEGER = 2**31 - 1  # sums of two still fit into the 64 bits of the graphs
LEAST_LIMIT = 8  # tokens that max_length_factor allows the shortest source, too
_OF_SAMPLING = ("top_k", "top_p", "seed")
# By class: cached, because reading type hints is slow.
_DECLARED: dict[type, "tuple[tuple[str, Any, OptionSpec], ...]"] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionSpec:
    """What is known of one option beside its name, type and default.

    Attributes:
        help: one sentence for users
        low: the smallest value allowed; None is no limit
        above: values must be larger than this; None is no limit
        high: the largest value allowed; None is no limit
        cli: its name on the command line, such as "--n-best"
        graph: whether translate.onnx carries it out, as an input of the option's name
        processor: the name of the rule in processors.py that carries it out step by step; ""
            where the search itself does
    """

    help: str
    low: float | None = None
    above: float | None = None
    high: float | None = None
    cli: str = ""
    graph: bool = False
    processor: str = ""


def option(
    default: Any,
    *,
    help: str,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    cli: str = "",
    graph: bool = False,
    processor: str = "",
) -> Any:
    """Declare a field of `DecodingOptions`; the arguments are those of `OptionSpec`."""
    spec = OptionSpec(
        help=help, low=low, above=above, high=high, cli=cli, graph=graph, processor=processor
    )
    return dataclasses.field(default=default, metadata={_METADATA: spec})


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingOptions:
    """How to decode. Lengths are in target tokens; EOS is not counted.

    search.py and processors.py say precisely what each option means.

    Raises:
        ValueError: a value has the wrong type, is out of its range, or contradicts another
    """

    beam_size: int = option(
        4,
        low=1,
        high=MOST_BEAMS,
        graph=True,
        help="Hypotheses followed per sentence; 1 is greedy search.",
    )
    num_hypotheses: int = option(
        1,
        low=1,
        high=MOST_BEAMS,
        cli="--n-best",
        graph=True,
        help="Hypotheses returned per sentence, best first. A smaller beam_size that is not set"
        " itself is raised to this.",
    )
    length_penalty: float = option(
        1.0,
        low=0,
        high=1000,
        graph=True,
        help="Score = sum of log-probabilities / length ** length_penalty, EOS counted; 0 compares"
        " the sums.",
    )
    max_length: int = option(
        256, low=1, high=MOST_TOKENS, graph=True, help="The most tokens of a translation."
    )
    max_length_factor: float = option(
        0.0,
        low=0,
        high=1000,
        help="The most tokens of a translation per source token, EOS and a language's token"
        f" included; but never fewer than {LEAST_LIMIT} nor more than max_length. 0 disables.",
    )
    min_length: int = option(
        0, low=0, graph=True, processor="min_length", help="The fewest tokens of a translation."
    )
    patience: float = option(
        1.0,
        above=0,
        graph=True,
        help="Beam search ends a sentence once it has beam_size * patience finished hypotheses.",
    )
    target_prefix: str = option(
        "", graph=True, help="Text that every translation begins with; it is part of the result."
    )
    suppress_ids: tuple[int, ...] = option(
        (),
        low=0,
        graph=True,
        processor="suppress_ids",
        help="Ids of tokens that are never written.",
    )
    suppress_texts: tuple[str, ...] = option(
        (),
        cli="--suppress-text",
        processor="suppress_texts",
        help="Texts that are in no translation, also within words; with a space before it, a text"
        " only where a word begins.",
    )
    suppress_unk: bool = option(
        False, processor="suppress_unk", help="The unknown token is never written."
    )
    repetition_penalty: float = option(
        1.0,
        low=0.001,
        high=1000,
        graph=True,
        processor="repetition_penalty",
        help="Above 1, tokens that were written already become less probable; 1 disables.",
    )
    no_repeat_ngram_size: int = option(
        0,
        low=0,
        processor="no_repeat_ngram_size",
        help="No sequence of this many tokens is written twice; 0 disables.",
    )

    temperature: float = option(
        0.0,
        low=0,
        high=1000,
        help="Above 0, tokens are drawn at random by their probabilities instead of searched for;"
        " below 1 likely ones more often, above 1 less. beam_size then counts for nothing.",
    )
    top_k: int = option(
        0, low=0, help="With a temperature: only this many best tokens are drawn from; 0: all."
    )
    top_p: float = option(
        1.0,
        above=0,
        high=1,
        help="With a temperature: only the best tokens that have this probability together.",
    )
    seed: int = option(
        0, low=0, help="With a temperature: the same seed gives a sentence the same translation."
    )

    def __post_init__(self) -> None:
        for name, type_, spec in declared_options(type(self)):
            object.__setattr__(self, name, _checked(name, type_, spec, getattr(self, name)))
        if self.num_hypotheses > self.beam_size:
            raise ValueError(
                f"num_hypotheses {self.num_hypotheses} is more than beam_size"
                f" {self.beam_size}: raise beam_size"
            )
        if self.min_length > self.max_length:
            raise ValueError(
                f"min_length {self.min_length} is more than max_length {self.max_length}:"
                " lower min_length"
            )

        for name in _OF_SAMPLING:
            value, default = getattr(self, name), type(self).__dataclass_fields__[name].default
            if not self.temperature and value != default:
                raise ValueError(f"{name} {value} is for sampling: set temperature above 0")

    def changed(self, **changes: Any) -> Self:
        """A copy with other values, or these options themselves; None leaves an option as it is.

        num_hypotheses alone widens the beam where needed; beam_size alone lowers num_hypotheses,
        and max_length alone lowers min_length; temperature 0 ends sampling and its options.

        Raises:
            TypeError: there is no such option
            ValueError: a value is out of its range, or contradicts another
        """
        changes = {name: value for name, value in changes.items() if value is not None}
        if not changes:
            return self
        known = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise TypeError(f"no decoding option {name!r}: the options are {', '.join(known)}")
        for name, value in changes.items():
            check_option(name, value, type(self))
        if "beam_size" not in changes and "num_hypotheses" in changes:
            changes["beam_size"] = max(self.beam_size, changes["num_hypotheses"])
        elif "num_hypotheses" not in changes and "beam_size" in changes:
            changes["num_hypotheses"] = min(self.num_hypotheses, changes["beam_size"])
        if "min_length" not in changes and "max_length" in changes:
            changes["min_length"] = min(self.min_length, changes["max_length"])
        if changes.get("temperature") == 0:
            fields = type(self).__dataclass_fields__
            changes = {name: fields[name].default for name in _OF_SAMPLING} | changes
        return dataclasses.replace(self, **changes)

    def length_limit(self, source_length: int) -> int:
        """The most tokens of a translation, by max_length and max_length_factor; min_length is
        possible in any case.

        Args:
            source_length: tokens of the source, EOS and a language's token counted
        """
        if not self.max_length_factor:
            return self.max_length
        # Rounded first: 1.1 * 10 is a little more than 11.
        scaled = math.ceil(round(self.max_length_factor * source_length, 6))
        return min(self.max_length, max(LEAST_LIMIT, self.min_length, scaled))

    def check_vocabulary(self, vocab_size: int) -> None:
        """Raise ValueError when a token id is not one of a model's vocab_size target tokens."""
        for token_id in self.suppress_ids:
            if token_id >= vocab_size:
                raise ValueError(
                    f"suppress_ids has {token_id}: the model's tokens are 0 to {vocab_size - 1}"
                )

    def set_options(self) -> dict[str, Any]:
        """The options whose values differ from their defaults, by name."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }


def declared_options(
    options: type[DecodingOptions] = DecodingOptions,
) -> tuple[tuple[str, Any, OptionSpec], ...]:
    """Name, type and declaration of every option, in the order of declaration."""
    if options in _DECLARED:
        return _DECLARED[options]
    types = typing.get_type_hints(options)
    declared = []
    for field in dataclasses.fields(options):
        spec: OptionSpec = field.metadata[_METADATA]
        if not spec.cli:
            spec = dataclasses.replace(spec, cli="--" + field.name.replace("_", "-"))
        declared.append((field.name, types[field.name], spec))
    _DECLARED[options] = tuple(declared)
    return _DECLARED[options]


def markdown_table(options: type[DecodingOptions] = DecodingOptions) -> str:
    """The table of all options for README.md."""
    rows = ["| Python | command line | default | what it does |", "|---|---|--:|---|"]
    for name, _, spec in declared_options(options):
        default = next(f.default for f in dataclasses.fields(options) if f.name == name)
        shown = f"{default:g}" if isinstance(default, (int, float)) else "none"
        if isinstance(default, bool):
            shown = "on" if default else "off"
        rows.append(f"| `{name}` | `{spec.cli}` | {shown} | {spec.help} |")
    return "\n".join(rows)


def check_option(name: str, value: Any, options: type[DecodingOptions] = DecodingOptions) -> None:
    """Raise ValueError when the value is out of the option's range, whatever the other options."""
    for declared, type_, spec in declared_options(options):
        if declared == name:
            _checked(name, type_, spec, value)


def _checked(name: str, type_: Any, spec: OptionSpec, value: Any) -> Any:
    """The value, as exactly the declared type.

    Raises:
        ValueError: it is of another type or out of its range
    """
    if type_ is str:
        return _text(name, value)
    if type_ is bool:
        if not isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}: it must be True or False")
        return bool(value)
    if typing.get_origin(type_) is tuple:
        of_texts = typing.get_args(type_)[0] is str
        try:
            items = None if isinstance(value, (str, bytes)) else tuple(value)
        except TypeError:
            items = None
        if items is None:
            wanted = "texts" if of_texts else "token ids"
            raise ValueError(f"{name} is {value!r}: it must be a sequence of {wanted}")
        if of_texts:
            return tuple(_visible_text(name, item) for item in items)
        return tuple(_number(name, int, spec, item) for item in items)
    return _number(name, type_, spec, value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}: it must be text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{name} is {value!r}: it is not UTF-8") from None
    return str(value)


def _visible_text(name: str, value: Any) -> str:
    text = _text(name, value)
    if not text.strip():
        raise ValueError(f"{name} has {value!r}: a text must be more than spaces")
    return text


def _number(name: str, type_: type, spec: OptionSpec, value: Any) -> int | float:
    expected = numbers.Integral if type_ is int else numbers.Real
    if not isinstance(value, expected) or isinstance(value, bool):
        what = "a whole number" if type_ is int else "a number"
        raise ValueError(f"{name} is {value!r}: it must be {what}")
    try:
        number: int | float = type_(value)
    except OverflowError:
        number = math.inf
    if type_ is float and not math.isfinite(number):
        raise ValueError(f"{name} is {value}: it must be finite")
    if type_ is int and number > LARGEST_INTEGER:
        raise ValueError(f"{name} is {value}: it must be at most {LARGEST_INTEGER}")
    if spec.high is not None and number > spec.high:
        raise ValueError(f"{name} is {value}: it must be at most {spec.high:.12g}")
    if spec.low is not None and number < spec.low:
        raise ValueError(f"{name} is {value}: it must be at least {spec.low:g}")
    if spec.above is not None and number <= spec.above:
        raise ValueError(f"{name} is {value}: it must be more than {spec.above:g}")
    return number
