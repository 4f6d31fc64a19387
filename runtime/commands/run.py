"""`tfm run`: lines of text in, translated lines out."""

import logging
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfm.runtime.files.display import printable

from . import input_lines, output_paths, resumable_output
from .finished_output import check_finished
from .input_lines import InputText
from .interrupts import run_cancellable, sigterm_raises
from .model_options import model_options
from .options import decoding_options, usage_errors
from .output_settings import output_settings
from .progress import Progress
from .resumable_output import Output
from .streams import LogLines
from .translation_options import translation_options

if TYPE_CHECKING:
    from tfm.runtime.options import DecodingOptions
    from tfm.runtime.translation import Alternative, Translation
    from tfm.runtime.translator import Translator


@click.command()
@click.argument("text", nargs=-1)
@click.option(
    "-i",
    "--input",
    "input_file",
    type=click.File("rb"),
    help="Translate the lines of this file, which may be .xz, .gz or .zst.",
)
@click.option(
    "-o",
    "--output",
    "output_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write here instead of to stdout.",
)
@click.option(
    "--encoding",
    metavar="NAME",
    callback=input_lines.encoding_option,
    help="Encoding of the input, such as gb18030; the output is UTF-8.  [default: UTF-8]",
)
@click.option("--resume", is_flag=True, help="Continue FILE.part of -o FILE, if there is one.")
@click.option(
    "--pairs",
    is_flag=True,
    help="Lines are source<TAB>target, as for `tfm train`: translate the source, replace the"
    " target, keep further columns.",
)
@click.option(
    "--doubts",
    is_flag=True,
    help="Say on stderr which translations may be wrong, and why.",
)
@translation_options
@click.option(
    "--alternatives",
    type=click.IntRange(1, 1024),
    help="Write the translations that begin with this many different tokens after --target-prefix,"
    " most probable token first, as `line ||| translation ||| probability of the token`.",
)
@model_options
@decoding_options
@click.option("-v", "--verbose", is_flag=True, help="Say on stderr what runs, and why.")
def run(
    text: tuple[str, ...],
    input_file: Any,
    output_file: Path | None,
    encoding: str | None,
    resume: bool,
    pairs: bool,
    doubts: bool,
    extras: dict[str, Any],
    alternatives: int | None,
    model: Path | None,
    decoding: dict[str, Any],
    source_language: str | None,
    target_language: str | None,
    device: str,
    variant: str | None,
    threads: int,
    verbose: bool,
) -> None:
    """Translate each TEXT, or the lines of a file or of stdin, one line each.

    Lines come out in their order; an empty line stays empty. With --n-best N, the N best of each
    line are written as `line ||| translation ||| score`, lines from 0. A file is written as
    FILE.part until it is complete. --pairs with a strong model makes a corpus to train a small
    one on.

    \b
        tfm run '我爱你。'
        tfm run --alternatives 5 --target-prefix 'I' '我爱你。'
        tfm run -i news.zh -o news.en
        cat news.zh | tfm run -m my-model > news.en
        tfm run --pairs -i train.tsv.xz -o distilled.tsv --resume
    """
    # numpy's OpenBLAS would start threads, which nothing here uses, before the first sentence.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if text and input_file is not None:
        raise click.UsageError("give TEXT or -i, not both")
    output_file = _output_path(output_file, resume)
    source = InputText.of(text, input_file, encoding)
    _check_paths(source, output_file)
    n_best = decoding.get("num_hypotheses")
    _check_together(alternatives, extras, n_best=n_best, pairs=pairs, doubts=doubts)
    if output_file is not None and resume and resumable_output.is_complete(output_file):
        _say_complete(output_file, source, pairs, n_best or alternatives)
        return
    if verbose:
        logging.basicConfig(level=logging.INFO, handlers=[LogLines()])

    translator = _open_translator(model, device, variant, threads)
    with usage_errors():
        translator.config.languages.prefixes(source_language, target_language)
        options = translator.options.changed(**{"num_hypotheses": 1, **decoding})
        options.check_vocabulary(translator.config.architecture.target_vocab_size)
        _check_extras(extras, translator, options, source_language, target_language)
    languages = source_language, target_language
    kind = _Alternatives if alternatives else _Job
    job = kind(translator, options, languages, extras, pairs, alternatives or n_best, doubts)
    if source.is_terminal:
        click.echo("Translating line by line; Ctrl-D ends.", err=True)
    chunks = source.chunks()
    if pairs:
        chunks = input_lines.check_pairs(chunks, source.name, "--pairs")
    with (
        sigterm_raises(),
        resumable_output.open_output(output_file, job.settings(), resume=resume) as output,
    ):
        chunks = output.skip(chunks, source.name)
        progress = Progress(
            output_is_stdout=output_file is None, source=input_file, done=output.lines
        )
        for chunk in chunks:
            job.translate(chunk, output)
            progress.add(len(chunk))
        progress.close()


def _check_together(alternatives: int | None, extras: dict[str, Any], **others: Any) -> None:
    names = {"reranker": "rerank-with"}
    used = [name for name, value in {**others, **extras}.items() if value]
    given = [f"--{names.get(name, name).replace('_', '-')}" for name in used]
    if alternatives and given:
        raise click.UsageError(f"--alternatives cannot be had together with {', '.join(given)}")


def _check_extras(
    extras: dict[str, Any],
    translator: "Translator",
    options: "DecodingOptions",
    source_language: str | None,
    target_language: str | None,
) -> None:
    """Refuse, before anything is done, what cannot be had together.

    Raises:
        click.UsageError: terms with sampling
        ValueError: a model to rerank with that is not of the reverse direction
    """
    if "terms" in extras and options.temperature:
        raise click.UsageError("--terms are searched for, not drawn: leave out --temperature")
    if "reranker" in extras:
        usual = translator.config.languages
        extras["reranker"].check(source_language or usual.source, target_language or usual.target)


def _output_path(output_file: Path | None, resume: bool) -> Path | None:
    """The file to write; None is stdout.

    Raises:
        click.UsageError: the options for the output do not fit
    """
    if output_file is None or str(output_file) == "-":
        if resume:
            raise click.UsageError("--resume continues a file: it needs -o FILE")
        return None
    if output_file.suffix in {".xz", ".gz", ".zst"}:
        raise click.UsageError(f"-o {output_file}: only plain text is written; compress it later")
    # Through a link into the file that it names: else the link would be replaced.
    return output_file.resolve() if output_file.is_symlink() else output_file


def _check_paths(source: InputText, output_file: Path | None) -> None:
    """Refuse an output that cannot be written, or that is the input, before anything is done."""
    inputs = [] if source.stream is None else [source.stream]
    if output_file is not None:
        part = resumable_output.part_of(output_file)
        also = [part, resumable_output.journal_of(output_file)]
        output_paths.check_output(output_file, inputs, also)
    elif source.stream is not None:
        output_paths.check_stdout(source.stream)


def _say_complete(output_file: Path, source: InputText, pairs: bool, n_best: int | None) -> None:
    """Say that nothing is left to be done, once the input is seen to be the one that was read."""
    if not source.is_terminal:
        check_finished(
            output_file,
            source.chunks(),
            source.name,
            source=source.stream,
            pairs=pairs,
            n_best=n_best,
        )
    resumable_output.finish(output_file)
    click.echo(f"{output_file} is complete; leave out --resume to make it anew", err=True)


def _say_doubts(translation: "Translation", line: int) -> None:
    from tfm.runtime.doubts import DOUBTS

    reasons = ", ".join(DOUBTS[name].meaning for name in translation.doubts)
    _say(line, f"{reasons}: {printable(translation.text)[:80]}")


def _say(line: int, what: str) -> None:
    click.echo(f"line {line + 1}: {what}", err=True)


class _Job:
    """What is done with every chunk of lines."""

    def __init__(
        self,
        translator: "Translator",
        options: "DecodingOptions",
        languages: tuple[str | None, str | None],
        extras: dict[str, Any],
        pairs: bool,
        n_best: int | None,
        with_doubts: bool,
    ) -> None:
        self._with_doubts, self._extras = with_doubts, extras
        usual = translator.config.languages
        self._translator, self._options = translator, options
        self._source_language = languages[0] or usual.source
        self._target_language = languages[1] or usual.target
        self._pairs, self._n_best = pairs, n_best

    def settings(self) -> resumable_output.Settings:
        """What decides the output beside the input; a run with others cannot continue it."""
        languages = self._source_language, self._target_language
        return {
            **output_settings(self._translator, self._options, languages, self._extras),
            "--pairs": self._pairs,
            "--n-best": self._n_best,
            "--doubts": self._with_doubts or None,
        }

    def translate(self, chunk: list[str], output: Output) -> None:
        """Translate lines, write what they become, and make it last."""
        translations = run_cancellable(
            lambda: self._translator.translate_batch(
                [line.partition("\t")[0] for line in chunk] if self._pairs else chunk,
                self._options,
                source_language=self._source_language,
                target_language=self._target_language,
                with_scores=self._n_best is not None,
                with_doubts=self._with_doubts,
                **self._extras,
            ),
            self._translator.cancel,
        )
        for index, translation in enumerate(translations):
            if translation.retried:
                _say(output.lines + index, "it was empty or repeated itself: searched again")
            if translation.doubts:
                _say_doubts(translation, output.lines + index)
            if translation.unmet:
                lacking = ", ".join(map(printable, translation.unmet))
                _say(output.lines + index, f"not in the translation: {lacking}")
            for line in self._lines(translation, chunk[index], output.lines + index):
                output.write(line)
        output.commit(chunk)

    def _lines(self, translation: "Translation", line: str, number: int) -> Iterator[str]:
        if self._pairs:
            return _pairs_of(translation, line, self._n_best or 1)
        if self._n_best is not None:
            return _n_best_of(translation, number)
        return iter([input_lines.one_line(translation.text)])


class _Alternatives(_Job):
    """Alternatives of every line, `n_best` of them."""

    def settings(self) -> resumable_output.Settings:
        """Those of a translation, and that it is none."""
        return {**super().settings(), "--n-best": None, "--alternatives": self._n_best}

    def translate(self, chunk: list[str], output: Output) -> None:
        """Find each line's alternatives, write them, and make it last."""
        for line in chunk:
            found = run_cancellable(partial(self._find, line), self._translator.cancel)
            number = output.lines
            if not found:
                output.write(f"{number} |||  ||| {0:.6f}")
            for alternative in found:
                text = input_lines.one_line(alternative.text)
                output.write(f"{number} ||| {text} ||| {alternative.probability:.6f}")
            output.commit([line])

    def _find(self, line: str) -> "list[Alternative]":
        return self._translator.alternatives(
            line,
            self._n_best or 1,
            self._options,
            source_language=self._source_language,
            target_language=self._target_language,
        )


def _open_translator(
    model: Path | None, device: str, variant: str | None, threads: int
) -> "Translator":
    from tfm.runtime.translator import Translator

    return Translator(model, device=device, variant=variant, intra_threads=threads)


def _n_best_of(translation: "Translation", number: int) -> Iterator[str]:
    for hypothesis in translation.hypotheses:
        text = input_lines.one_line(hypothesis.text)
        yield f"{number} ||| {text} ||| {hypothesis.score:.6f}"


def _pairs_of(translation: "Translation", line: str, count: int) -> Iterator[str]:
    """The line with a hypothesis for its target, `count` times.

    Where there are fewer, as for an empty source, the last one is repeated: the pairs of line i
    always begin at i * count.
    """
    source, _, *more = line.split("\t")
    for rank in range(count):
        hypothesis = translation.hypotheses[min(rank, len(translation.hypotheses) - 1)]
        text = input_lines.one_line(hypothesis.text).replace("\t", " ")
        yield "\t".join([source, text, *more])
