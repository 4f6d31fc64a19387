"""`tfm score`: what the model thinks of translations that are there already."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

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
    help="Of what is read, such as gb18030.  [default: UTF-8]",
)
@click.option("--mean", is_flag=True, help="Per token of the target, EOS counted, not the sum.")
@click.option(
    "--tokens", is_flag=True, help="In a further column every token of the target with its own."
)
@click.option(
    "--alignment",
    is_flag=True,
    help="In a further column which source characters each target word comes from.",
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
    lines = ("\t".join(pair),) if pair else ()
    source = InputText.of(lines, input_file, encoding)
    from tfm.runtime.translator import Translator

    translator = Translator(model, device=device, variant=variant, intra_threads=threads)
    with usage_errors():
        translator.config.languages.prefixes(source_language, target_language)
    languages = source_language, target_language
    with sigterm_raises():
        progress = Progress(output_is_stdout=True, source=input_file, done=0)
        for chunk in input_lines.check_pairs(source.chunks(), source.name, "tfm score"):
            for row in _rows(translator, chunk, languages, mean, tokens, alignment):
                click.echo(row)
            progress.add(len(chunk))
        progress.close()


def _rows(
    translator: "Translator",
    lines: list[str],
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
