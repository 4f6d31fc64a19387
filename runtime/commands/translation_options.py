"""Options of `tfm run` that are no decoding options: terms, placeholders, a second model."""

import functools
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfm.runtime.errors import TfmError
from tfm.runtime.files.text import read_lines
from tfm.runtime.placeholders import COPIED_KINDS, KINDS, PlaceholderPatterns
from tfm.runtime.terms import Terms

from .model_argument import ModelPath
from .options import Command

if TYPE_CHECKING:
    from tfm.runtime.reranking import Reranker

ALL, NONE = "all", "none"
_OPTIONS = (
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
        help="What comes out as it went in: all, none, or some of "
        + ", ".join(KINDS)
        + "; without this option all but numbers.",
    ),
    click.option(
        "--placeholder-pattern",
        "placeholder_patterns",
        metavar="REGEX",
        multiple=True,
        help="What this regular expression matches comes out as it went in; may be repeated.",
    ),
    click.option(
        "--rerank-with",
        "reverse_model",
        type=ModelPath(),
        help="A model of the reverse direction, such as en-zh: of each line's hypotheses the"
        " one is written that both models like best.",
    ),
    click.option(
        "--rerank-weight",
        type=click.FloatRange(0, 1),
        help="How much the reverse model's opinion counts.  [default: 0.25]",
    ),
    click.option(
        "--replace-unknowns",
        is_flag=True,
        help="Write source words in the place of unknown tokens, which only models that others"
        " trained have.",
    ),
)


def translation_options(command: Command) -> Command:
    """Give a command the options; what the user sets arrives as the argument `extras`, a dict of
    `terms`, `placeholders`, `reranker` and `replace_unknowns` for `Translator.translate_batch`."""

    @functools.wraps(command)
    def with_extras(
        *args: Any,
        terms_file: Path | None,
        placeholders: str | None,
        placeholder_patterns: tuple[str, ...],
        reverse_model: Path | None,
        rerank_weight: float | None,
        replace_unknowns: bool,
        **kwargs: Any,
    ) -> Any:
        extras: dict[str, Any] = {}
        if terms_file is not None:
            extras["terms"] = _read_terms(terms_file)
        if placeholders is not None or placeholder_patterns:
            extras["placeholders"] = _patterns(placeholders, placeholder_patterns)
        if reverse_model is not None:
            extras["reranker"] = _reranker(reverse_model, rerank_weight)
        elif rerank_weight is not None:
            raise click.UsageError(
                "--rerank-weight is how much a second model counts: it needs --rerank-with MODEL"
            )
        if replace_unknowns:
            extras["replace_unknowns"] = True
        return command(*args, extras=extras, **kwargs)

    wrapped: Command = with_extras
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def _read_terms(path: Path) -> Terms:
    try:
        return Terms.of_lines(read_lines(path), str(path))
    except ValueError as error:
        raise TfmError(str(error)) from error


def _reranker(reverse_model: Path, weight: float | None) -> "Reranker":
    from tfm.runtime.reranking import DEFAULT_WEIGHT, Reranker
    from tfm.runtime.translator import Translator

    reverse = Translator(reverse_model, device="cpu")
    return Reranker(reverse, DEFAULT_WEIGHT if weight is None else weight)


def _patterns(kinds: str | None, patterns: tuple[str, ...]) -> PlaceholderPatterns:
    known: dict[str, Collection[str]] = {ALL: KINDS, NONE: ()}
    names = COPIED_KINDS if kinds is None else [name.strip() for name in kinds.split(",")]
    for name in known:
        if name in names and len(names) > 1:
            raise click.UsageError(f"--placeholders is {kinds!r}: {name!r} stands alone")
    chosen = [kind for name in names for kind in known.get(name, (name,))]
    try:
        return PlaceholderPatterns(chosen, patterns)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
