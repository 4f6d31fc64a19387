"""`tfm score`: what the model thinks of translations that are there already."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfm.runtime.errors import TfmError

from . import input_lines
from .input_lines import InputText
from .interrupts import sigterm_raises
from .model_options import model_options
from .options import usage_errors
from .progress import Progress

if TYPE_CHECKING:
    from tfm.runtime.alignment import Alignment
    from tfm.runtime.translator import Translator


@click.command()
@click.argument("pair", nargs=-1, metavar="[SOURCE TARGET]")
@click.option(
    "-i",
    "--input",
    "input_file",
    type=click.File("rb"),
    help="Score the lines of this file, source<TAB>target; it may be .xz, .gz or .zst.",
)
@click.option(
    "--encoding",
    metavar="NAME",
    callback=input_lines.encoding_option,
    help="Encoding of the input, such as gb18030.  [default: UTF-8]",
)
@click.option(
    "--mean",
    is_flag=True,
    help="Write the mean log-probability of a target token, EOS included, instead of the sum.",
)
@click.option(
    "--tokens",
    is_flag=True,
    help="Add a column with each target token and its log-probability.",
)
@click.option(
    "--alignment",
    is_flag=True,
    help="Add a column that says which source characters each target word comes from.",
)
@model_options
def score(
    pair: tuple[str, ...],
    input_file: Any,
    encoding: str | None,
    mean: bool,
    tokens: bool,
    alignment: bool,
    model: Path | None,
    source_language: str | None,
    target_language: str | None,
    device: str,
    variant: str | None,
    threads: int,
) -> None:
    """Write the log-probability of each TARGET, in nats, given its SOURCE.

    Pairs come from the command line, a file or stdin; one line comes out for each. An empty source
    has no score: nan.

    \b
        tfm score '我爱你。' 'I love you.'
        tfm score -i pairs.tsv --mean | sort -g | head
        tfm score '我爱你。' 'I love you.' --tokens --alignment
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in `tfm run`
    if pair and (input_file is not None or len(pair) != 2):
        raise click.UsageError("give SOURCE and TARGET, or -i FILE, or pairs on stdin")
    for name, text in zip(("SOURCE", "TARGET"), pair, strict=False):
        if any(char in text for char in "\t\n\r"):
            raise click.UsageError(
                f"{name} is {text[:40]!r}: it must be one line without tabs; write spaces instead"
            )
    lines = ("\t".join(pair),) if pair else ()
    source = InputText.of(lines, input_file, encoding)
    from tfm.runtime.translator import Translator

    translator = Translator(model, device=device, variant=variant, intra_threads=threads)
    with usage_errors():
        translator.config.languages.prefixes(source_language, target_language)
    languages = source_language, target_language
    rows_of = partial(
        _rows, translator, languages=languages, mean=mean, tokens=tokens, alignment=alignment
    )
    chunks = input_lines.check_pairs(source.chunks(), source.name, "tfm score")
    with sigterm_raises():
        progress = Progress(output_is_stdout=True, source=input_file, done=0)
        for rows in _scored(chunks, source.name, rows_of):
            for row in rows:
                click.echo(row)
            progress.add(len(rows))
        progress.close()


def _scored(
    chunks: Iterator[list[str]], name: str, rows_of: Callable[[list[str]], list[str]]
) -> Iterator[list[str]]:
    """The rows of each chunk; those of the lines before one that is too long, before its error."""
    from tfm.runtime.pair_scorer import LongTargetError

    number = 0
    for chunk in chunks:
        try:
            rows = rows_of(chunk)
        except LongTargetError as error:
            place = error.places[0]
            if place:
                yield rows_of(chunk[:place])
            raise TfmError(
                f"{name}, line {number + place + 1}: the target has {error.reason}"
            ) from error
        yield rows
        number += len(chunk)


def _rows(
    translator: "Translator",
    lines: list[str],
    *,
    languages: tuple[str | None, str | None],
    mean: bool,
    tokens: bool,
    alignment: bool,
) -> list[str]:
    sources, targets = zip(*(line.split("\t")[:2] for line in lines), strict=True)
    source_language, target_language = languages
    scores = translator.score_batch(
        sources, targets, source_language=source_language, target_language=target_language
    )
    columns = [
        [f"{scored.total / (max(1, len(scored.log_probs)) if mean else 1):.6f}"]
        for scored in scores
    ]
    if tokens:
        for row, scored in zip(columns, scores, strict=True):
            each = zip(scored.target_tokens, scored.log_probs, strict=True)
            row.append(" ".join(f"{token}:{value:.4f}" for token, value in each))
    if alignment:
        aligned = translator.align_batch(
            sources, targets, source_language=source_language, target_language=target_language
        )
        for row, found in zip(columns, aligned, strict=True):
            row.append(" ".join(_aligned(found)))
    return ["\t".join(row) for row in columns]


def _aligned(found: "Alignment") -> Iterator[str]:
    """Each target token with the source text that it comes from: I=我 love=爱 ..."""
    for source_token, target_token in found.pairs:
        begin, end = found.source_spans[source_token]
        first, last = found.target_spans[target_token]
        yield f"{found.target[first:last].strip()}={found.source[begin:end].strip()}"
