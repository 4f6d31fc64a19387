"""`tfm document`: whole documents in, translated documents out."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfm.runtime.errors import TfmError
from tfm.runtime.files.display import printable

from . import output_paths, resumable_output
from .input_lines import encoding_option
from .interrupts import run_cancellable, sigterm_raises
from .model_options import model_options
from .options import decoding_options, usage_errors
from .output_settings import output_settings
from .streams import LogLines
from .translation_options import translation_options

if TYPE_CHECKING:
    from tfm.runtime.documents.document import AlignedText
    from tfm.runtime.documents.formats import FileDocument
    from tfm.runtime.options import DecodingOptions
    from tfm.runtime.translator import Translator

    from .sentence_journal import SentenceJournal

_STDIO = "-"
_MOST_NOTES = 20  # of a document


@dataclass(frozen=True, slots=True)
class _How:
    """How every document is translated, and written."""

    translator: "Translator"
    options: "DecodingOptions"
    languages: tuple[str | None, str | None]
    extras: dict[str, Any]
    format: str | None
    format_options: dict[str, Any]
    encoding: str | None
    bilingual: bool
    resume: bool


@click.command()
@click.argument("inputs", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The file to write, or a folder for any number of files.  [default: stdout]",
)
@click.option(
    "--format",
    "format_name",
    metavar="NAME",
    help="What the files are: text, srt, vtt, markdown, html, po, xliff, docx, csv, tsv, jsonl."
    "  [default: by the name]",
)
@click.option(
    "--encoding",
    metavar="NAME",
    callback=encoding_option,
    help="Encoding of input and output.  [default: detected: UTF-8, UTF-16 with a mark, GB18030]",
)
@click.option("--bilingual", is_flag=True, help="Write both languages, line by line or cue by cue.")
@click.option(
    "--line-length", type=click.IntRange(8), help="Columns of a line of subtitles.  [default: 42]"
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    help="What to translate: of csv, tsv a name of the header, which stays, or a number from 1 for"
    " every row, of jsonl a key. May be given several times.",
)
@click.option(
    "--into",
    multiple=True,
    help="A new column or key for the translations of each --column.  [default: in its place]",
)
@click.option("--resume", is_flag=True, help="Continue where an interrupted run stopped.")
@translation_options
@model_options
# Of a sentence a document has one translation, and no two begin alike.
@partial(decoding_options, without=("num_hypotheses", "target_prefix"))
@click.option("-v", "--verbose", is_flag=True, help="Say on stderr what runs, and why.")
def document(
    inputs: tuple[str, ...],
    output: Path | None,
    format_name: str | None,
    encoding: str | None,
    bilingual: bool,
    line_length: int | None,
    columns: tuple[str, ...],
    into: tuple[str, ...],
    resume: bool,
    extras: dict[str, Any],
    model: Path | None,
    decoding: dict[str, Any],
    source_language: str | None,
    target_language: str | None,
    device: str,
    variant: str | None,
    threads: int,
    verbose: bool,
) -> None:
    """Translate whole documents: each FILE, or stdin if it is -, comes out with its layout.

    Sentences are found and translated one by one; blank lines, times, tags, links, code and all
    else that is no text stay as they were. What could not be translated is said on stderr.

    \b
        tfm document story.txt -o story.en.txt
        tfm document film.srt -o film.en.srt --bilingual
        tfm document docs/*.md -o english/
        cat page.html | tfm document --format html - > page.en.html
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in `tfm run`
    if resume and output is None:
        raise click.UsageError("--resume continues a file: it needs -o")
    targets = _targets(inputs, output)
    if verbose:
        logging.basicConfig(level=logging.INFO, handlers=[LogLines()])
    from tfm.runtime.translator import Translator

    with usage_errors():
        for name in inputs:
            format = _format(format_name, name)  # before a model is loaded
            if "columns" in format.options and not columns:
                raise click.UsageError(f"{name}: --column says what to translate of {format.name}")
            if not format.is_text and output is None and sys.stdout.isatty():
                raise click.UsageError(f"{name}: {format.name} is nothing for a terminal: give -o")
    translator = Translator(model, device=device, variant=variant, intra_threads=threads)
    with usage_errors():
        translator.config.languages.prefixes(source_language, target_language)
        options = translator.options.changed(**{"num_hypotheses": 1, **decoding})
        options.check_vocabulary(translator.config.architecture.target_vocab_size)
    languages = source_language, target_language
    given = {"line_length": line_length, "columns": columns, "into": into}
    format_options = {name: value for name, value in given.items() if value}
    how = _How(
        translator, options, languages, extras, format_name, format_options, encoding, bilingual,
        resume,
    )  # fmt: skip
    failed = 0
    with sigterm_raises():
        for name, target in targets:
            try:
                _translate(name, target, how)
            except TfmError as error:
                if len(targets) == 1:
                    raise
                failed += 1
                click.echo(f"Error: {printable(str(error))}", err=True)
    if failed:
        raise TfmError(f"{failed} of {len(targets)} documents were not translated")


def _targets(inputs: tuple[str, ...], output: Path | None) -> list[tuple[str, Path | None]]:
    """What is read, and where each is written; None is stdout.

    Raises:
        click.UsageError, TfmError: they do not fit together, or something would be overwritten
    """
    if output is None:
        if len(inputs) > 1:
            raise click.UsageError("several files need -o FOLDER")
        return [(inputs[0], None)]
    if len(inputs) == 1 and not output.is_dir():
        targets = [(inputs[0], output)]
    elif _STDIO in inputs:
        raise click.UsageError("stdin has no name: -o must be a file, for it alone")
    else:
        if not output.is_dir():
            output.mkdir(parents=True)
        targets = [(name, output / Path(name).name) for name in inputs]
    paths = [target for _, target in targets]
    for target in paths:
        if paths.count(target) > 1:
            raise click.UsageError(f"two files would be written as {target}: rename one")
        also = [resumable_output.part_of(target)]
        read = [Path(name) for name in inputs if name != _STDIO]
        output_paths.check_output(target, read, also)
    return list(targets)


def _format(name: str | None, path: str) -> Any:
    from tfm.runtime.documents.formats import find_format

    if path == _STDIO:
        return find_format(name or "text")
    return find_format(name, path)


def _read(name: str) -> bytes:
    if name == _STDIO:
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise TfmError(f"{name}: {error.strerror or error}") from error


def _translate(name: str, output: Path | None, how: _How) -> None:
    """Translate one document, and write it."""
    from tfm.runtime.documents.formats import read_document
    from tfm.runtime.documents.translate import notes_on
    from tfm.runtime.files.atomic import write_bytes

    content = _read(name)
    format = _format(how.format, name)
    usual = how.translator.config.languages
    options = {key: value for key, value in how.format_options.items() if key in format.options}
    if how.bilingual and not format.bilingual:
        raise TfmError(f"{name}: {format.name} has no bilingual form")
    try:
        document = read_document(
            content,
            format,
            how.languages[0] or usual.source,
            how.languages[1] or usual.target,
            encoding=how.encoding,
            **options,
        )
    except ValueError as error:
        raise TfmError(f"{name}: {error}") from error
    _say_notes(name, document.notes)
    known = len(document.notes)
    with _journal(output, content, how, options) as journal:
        translations = _translations(document, journal, how, name)
        result = document.assemble(translations, bilingual=how.bilingual)
        if output is None:
            sys.stdout.buffer.write(result)
            sys.stdout.buffer.flush()
        else:
            write_bytes(output, result)
    _say_notes(name, [*document.notes[known:], *notes_on(document.segments, translations)])


@contextlib.contextmanager
def _journal(
    output: Path | None, content: bytes, how: _How, options: dict[str, Any]
) -> Iterator["SentenceJournal | None"]:
    from .sentence_journal import open_journal

    if output is None:
        yield None
        return
    settings = output_settings(how.translator, how.options, how.languages, how.extras)
    settings |= {"--format": how.format, "--encoding": how.encoding}
    settings |= {name: str(value) for name, value in options.items()}
    with open_journal(output, content, settings, resume=how.resume) as journal:
        try:
            yield journal
        except BaseException:
            part = resumable_output.part_of(output)
            click.echo(f"What was translated so far is in {part}; --resume continues it", err=True)
            raise


def _translations(
    document: "FileDocument", journal: "SentenceJournal | None", how: _How, name: str
) -> "list[AlignedText]":
    from tfm.runtime.documents.translate import translate_segments

    segments = document.segments
    translations = [] if journal is None else list(journal.done)
    chunks = translate_segments(
        how.translator,
        segments[len(translations) :],
        how.options,
        source_language=how.languages[0],
        target_language=how.languages[1],
        with_scores=False,
        **how.extras,
    )
    with click.progressbar(
        length=len(segments), label=printable(name)[-30:], file=sys.stderr, hidden=_is_quiet()
    ) as bar:
        bar.update(len(translations))
        end: list[AlignedText] = []
        while True:
            chunk = run_cancellable(lambda: next(chunks, end), how.translator.cancel)
            if not chunk:
                return translations
            translations += chunk
            if journal is not None:
                journal.add(chunk)
            bar.update(len(chunk))


def _is_quiet() -> bool:
    return not sys.stderr.isatty() or sys.stdout.isatty()


def _say_notes(name: str, notes: Sequence[str]) -> None:
    for note in notes[:_MOST_NOTES]:
        click.echo(printable(f"{name}: {note}"), err=True)
    if notes[_MOST_NOTES:]:
        click.echo(f"{printable(name)}: and {len(notes) - _MOST_NOTES} more", err=True)
