"""The options that say what translations must contain: terms and placeholders."""

import functools
from pathlib import Path
from typing import Any

import click

from tfm.runtime.errors import TfmError
from tfm.runtime.files.text import read_lines
from tfm.runtime.placeholders import KINDS, PlaceholderPatterns
from tfm.runtime.terms import Terms

from .options import Command

ALL = "all"


def required_options(command: Command) -> Command:
    """Give a command the options; what the user sets arrives as the argument `required`, a dict of
    `terms` and `placeholders` for `Translator.translate_batch`."""

    @functools.wraps(command)
    def with_required(
        *args: Any,
        terms_file: Path | None,
        placeholders: str | None,
        placeholder_patterns: tuple[str, ...],
        **kwargs: Any,
    ) -> Any:
        required: dict[str, Any] = {}
        if terms_file is not None:
            required["terms"] = _read_terms(terms_file)
        if placeholders is not None or placeholder_patterns:
            required["placeholders"] = _patterns(placeholders, placeholder_patterns)
        return command(*args, required=required, **kwargs)

    options = (
        click.option(
            "--terms",
            "terms_file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="A glossary, source<TAB>target: where a source phrase is in a line, its target"
            " phrase will be in the translation, letter for letter.",
        ),
        click.option(
            "--placeholders",
            metavar="KIND,...",
            help="What comes out as it went in: all, or some of " + ", ".join(KINDS) + ".",
        ),
        click.option(
            "--placeholder-pattern",
            "placeholder_patterns",
            metavar="REGEX",
            multiple=True,
            help="What this regular expression matches comes out as it went in; may be repeated.",
        ),
    )
    wrapped: Command = with_required
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def _read_terms(path: Path) -> Terms:
    try:
        return Terms.of_lines(read_lines(path), str(path))
    except ValueError as error:
        raise TfmError(str(error)) from error


def _patterns(kinds: str | None, patterns: tuple[str, ...]) -> PlaceholderPatterns:
    names = [name.strip() for name in (kinds or "").split(",") if name.strip()]
    try:
        return PlaceholderPatterns(tuple(KINDS) if ALL in names else names, patterns)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
