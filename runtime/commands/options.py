"""The decoding options as options of a command, derived from runtime/options.py."""

import contextlib
import functools
import re
import typing
from collections.abc import Callable, Collection, Iterator
from typing import Any

import click

from tfm.runtime.options import DecodingOptions, OptionSpec, check_option, declared_options

from .input_lines import utf8_argument

Command = Callable[..., Any]


class TokenIds(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """Token ids with commas between them; empty text is no id."""

    name = "ID,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in value.split(",")) if value.strip() else ()
        except ValueError:
            self.fail(f"{value!r} is not a list of token ids such as 5,17", param, ctx)


class Utf8Text(click.ParamType):  # type: ignore[type-arg]
    """Text that is UTF-8 on the command line."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return utf8_argument(str(value))


def decoding_options(
    command: Command,
    options: type[DecodingOptions] = DecodingOptions,
    *,
    without: Collection[str] = (),
    defaults: DecodingOptions | None = None,
) -> Command:
    """Give a command all decoding options; what the user sets arrives as the argument `decoding`,
    a dict of values by name for `DecodingOptions.changed`.

    Args:
        without: names of options that the command does not take
        defaults: what the help shows as default values; None is the model's own
    """
    declared = [option for option in declared_options(options) if option[0] not in without]

    @functools.wraps(command)
    def with_decoding(*args: Any, **kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name, _, _ in declared}
        decoding = {name: value for name, value in given.items() if value is not None}
        with usage_errors(options):
            for name, value in decoding.items():
                check_option(name, value, options)  # before a model is loaded
        return command(*args, **kwargs, decoding=decoding)

    for name, type_, spec in reversed(declared):
        default = "the model's own" if defaults is None else getattr(defaults, name) or "none"
        several = _is_texts(type_)
        kind = None if type_ is bool else _click_type(type_, spec)
        is_text = several or type_ is str
        with_decoding = click.option(
            f"{spec.cli}/{spec.cli.replace('--', '--no-', 1)}" if type_ is bool else spec.cli,
            name,
            type=kind,
            default=None,
            multiple=several,
            callback=_none_if_empty if several else None,
            metavar=spec.cli.lstrip("-").split("-")[-1].upper() if is_text else None,
            help=f"{spec.help}{' May be given several times.' * several}  [default: {default}]",
        )(with_decoding)
    return with_decoding


@contextlib.contextmanager
def usage_errors(options: type[DecodingOptions] = DecodingOptions) -> Iterator[None]:
    """Let a ValueError about options be a usage error, in the words of the command line."""
    try:
        yield
    except ValueError as error:
        message = str(error)
        names = {name: spec.cli for name, _, spec in declared_options(options)}
        names |= {"source_language": "--source-language", "target_language": "--target-language"}
        for name, cli_name in names.items():
            message = re.sub(rf"\b{name}\b", cli_name, message)
        raise click.UsageError(message) from error


def _click_type(type_: Any, spec: OptionSpec) -> click.ParamType[Any]:
    if typing.get_origin(type_) is tuple and not _is_texts(type_):
        return TokenIds()
    if type_ is str or _is_texts(type_):
        return Utf8Text()
    least = spec.low if spec.low is not None else spec.above
    is_open = spec.low is None and spec.above is not None
    if type_ is int:
        low, high = (None if limit is None else int(limit) for limit in (least, spec.high))
        return click.IntRange(low, high, min_open=is_open)
    return click.FloatRange(least, spec.high, min_open=is_open)


def _is_texts(type_: Any) -> bool:
    return typing.get_origin(type_) is tuple and typing.get_args(type_)[0] is str


def _none_if_empty(_context: Any, _parameter: Any, texts: tuple[str, ...]) -> Any:
    """An option that was given never is the model's own, as any other."""
    return texts or None
