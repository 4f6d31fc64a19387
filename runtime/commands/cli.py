"""The commands `run` and `info`, and `tfm` that holds them and those of other packages."""

import json
import logging
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfm.runtime.bundled import bundled_model
from tfm.runtime.config import Languages, ModelConfig
from tfm.runtime.errors import TfmError

from . import input_lines as text_lines
from . import resumable_output as outputs
from .command_group import CommandGroup
from .interrupts import sigterm_raises
from .progress import Progress

if TYPE_CHECKING:
    from tfm.runtime.translator import Translation, Translator

_MODEL_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tfm", message="tfm %(version)s")
def cli() -> None:
    """Train a Transformer, export it to ONNX, translate anywhere."""


@cli.command()
@click.argument("text", nargs=-1)
@click.option(
    "-i",
    "--input",
    "input_file",
    type=click.File("rb"),
    help="Translate the lines of this file, which may be .xz or .gz.",
)
@click.option(
    "-o",
    "--output",
    "output_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write here instead of to stdout.",
)
@click.option("--resume", is_flag=True, help="Continue FILE.part of -o FILE, if there is one.")
@click.option(
    "--pairs",
    is_flag=True,
    help="Lines are source<TAB>target, as for `tfm train`: translate the source, replace the"
    " target, keep further columns.",
)
@click.option(
    "-m",
    "--model",
    type=_MODEL_FOLDER,
    envvar="TFM_MODEL",
    show_envvar=True,
    help="Folder written by `tfm export`.  [default: the bundled Chinese-English model]",
)
@click.option(
    "--beam-size",
    type=click.IntRange(1),
    help="Hypotheses followed per line; 1 is greedy.  [default: the model's]",
)
@click.option(
    "--n-best",
    type=click.IntRange(1),
    help="Write the N best of each line as `line ||| translation ||| score`, lines from 0; with"
    " --pairs, as N pairs.",
)
@click.option(
    "--length-penalty",
    type=click.FloatRange(0),
    help="Score = sum of log-probabilities / tokens ** PENALTY, EOS counted.  "
    "[default: the model's]",
)
@click.option(
    "--max-length",
    type=click.IntRange(1),
    help="Most tokens of a translation.  [default: the model's]",
)
@click.option(
    "--source-language", help="Of the text, where the model reads several: see `tfm info`."
)
@click.option("--target-language", help="To translate into, where the model writes several.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
@click.option("--variant", help="int8, fp32, ...  [default: the best for the device]")
@click.option(
    "--threads",
    type=click.IntRange(0),
    default=0,
    help="Threads to compute with.  [default: one for each core]",
)
@click.option("-v", "--verbose", is_flag=True, help="Say on stderr what runs, and why.")
def run(
    text: tuple[str, ...],
    input_file: Any,
    output_file: Path | None,
    resume: bool,
    pairs: bool,
    model: Path | None,
    beam_size: int | None,
    n_best: int | None,
    length_penalty: float | None,
    max_length: int | None,
    source_language: str | None,
    target_language: str | None,
    device: str,
    variant: str | None,
    threads: int,
    verbose: bool,
) -> None:
    """Translate each TEXT, or the lines of a file or of stdin, one line each.

    Lines come out in their order; an empty line stays empty. A file is written as FILE.part until
    it is complete. --pairs with a strong model makes a corpus to train a small one on.

    \b
        tfm run '我爱你。'
        tfm run -i news.zh -o news.en
        cat news.zh | tfm run -m my-model > news.en
        tfm run --pairs -i train.tsv.xz -o distilled.tsv --resume
    """
    if text and input_file is not None:
        raise click.UsageError("give TEXT or -i, not both")
    if n_best is not None and beam_size is not None and n_best > beam_size:
        raise click.UsageError(f"--n-best {n_best} is more than --beam-size {beam_size}")
    if length_penalty is not None and not math.isfinite(length_penalty):
        raise click.UsageError(f"--length-penalty {length_penalty} is not a finite number")
    if output_file is not None and output_file.suffix in {".xz", ".gz"}:
        raise click.UsageError(f"-o {output_file}: only plain text is written; compress it later")
    if output_file is None or str(output_file) == "-":
        output_file = None
        if resume:
            raise click.UsageError("--resume continues a file: it needs -o FILE")
    elif resume and outputs.is_complete(output_file):
        outputs.journal_of(output_file).unlink(missing_ok=True)  # of a run that was killed last
        click.echo(f"{output_file} is complete; leave out --resume to make it anew", err=True)
        return
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(message)s")

    translator = _open_translator(model, device, variant, threads)
    languages, decoding = translator.config.languages, translator.config.decoding
    try:
        languages.prefixes(source_language, target_language)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    options: dict[str, Any] = {
        "beam_size": beam_size or max(n_best or 1, decoding.beam_size),
        "length_penalty": decoding.length_penalty if length_penalty is None else length_penalty,
        "max_length": max_length or decoding.max_length,
        "source_language": source_language or languages.source,
        "target_language": target_language or languages.target,
    }
    settings = {
        "--variant": translator.choice.variant,  # first: the fingerprint differs by it too
        "model": translator.fingerprint,
        "--pairs": pairs,
        "--n-best": n_best,
        **{"--" + name.replace("_", "-"): value for name, value in options.items()},
    }
    name = "TEXT" if text else str(getattr(input_file or sys.stdin.buffer, "name", "stdin"))
    chunks = _chunks(text, input_file, name)
    if pairs:
        chunks = text_lines.check_pairs(chunks, name)

    with sigterm_raises(), outputs.open_output(output_file, settings, resume=resume) as output:
        chunks = output.skip(chunks, name)
        progress = Progress(
            output_is_stdout=output_file is None, source=input_file, done=output.lines
        )
        written: Iterable[str]
        for chunk in chunks:
            translations = translator.translate_batch(
                [line.partition("\t")[0] for line in chunk] if pairs else chunk,
                num_hypotheses=n_best or 1,
                **options,
            )
            for place, translation in enumerate(translations):
                if pairs:
                    written = _pairs_of(translation, chunk[place], n_best or 1)
                elif n_best is not None:
                    written = _n_best_of(translation, output.lines + place)
                else:
                    written = [text_lines.one_line(translation.text)]
                for line in written:
                    output.write(line)
            output.commit(chunk)
            progress.add(len(chunk))
        progress.close()


def _open_translator(
    model: Path | None, device: str, variant: str | None, threads: int
) -> "Translator":
    from tfm.runtime.translator import Translator

    return Translator(model, device=device, variant=variant, intra_threads=threads)


def _chunks(text: tuple[str, ...], input_file: Any, name: str) -> Iterator[list[str]]:
    if text:
        yield text_lines.split_texts(text)
        return
    stream: Any = sys.stdin.buffer if input_file is None else input_file
    if stream.isatty():
        click.echo("Translating line by line; Ctrl-D ends.", err=True)
    yield from text_lines.read_chunks(text_lines.unpacked(stream, name), name)


def _n_best_of(translation: "Translation", number: int) -> Iterator[str]:
    for hypothesis in translation.hypotheses:
        text = text_lines.one_line(hypothesis.text)
        yield f"{number} ||| {text} ||| {hypothesis.score:.6f}"


def _pairs_of(translation: "Translation", line: str, count: int) -> Iterator[str]:
    """The line with a hypothesis for its target, `count` times.

    Where there are fewer, as for an empty source, the last one is repeated: what becomes of line i
    is always at i * count.
    """
    source, _, *more = line.split("\t")
    for place in range(count):
        hypothesis = translation.hypotheses[min(place, len(translation.hypotheses) - 1)]
        text = text_lines.one_line(hypothesis.text).replace("\t", " ")
        yield "\t".join([source, text, *more])


@cli.command()
@click.argument("model", type=_MODEL_FOLDER, required=False, envvar="TFM_MODEL")
@click.option("--json", "as_json", is_flag=True, help="The same for programs.")
def info(model: Path | None, as_json: bool) -> None:
    """Say what MODEL is (the bundled model without one), and how it would run here."""
    folder = bundled_model() if model is None else model
    config = ModelConfig.load(folder)
    runs_here = _runs_here(config)
    if as_json:
        facts = {"folder": str(folder), **asdict(config), "runs_here": runs_here}
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return

    shape = config.architecture
    decoding = config.decoding
    rows = [
        ("model", config.name),
        ("folder", str(folder)),
        ("languages", _languages(config.languages)),
        (
            "architecture",
            f"Transformer, {shape.encoder_layers}+{shape.decoder_layers} layers,"
            f" {shape.norm}-norm, d_model {shape.d_model}, d_ff {shape.d_ff},"
            f" {shape.num_heads} heads",
        ),
        ("vocabulary", f"{shape.source_vocab_size} -> {shape.target_vocab_size}"),
        ("parameters", f"{shape.parameters / 1e6:.1f} M"),
        *(
            (f"variant {name}", f"{files.size / 1e6:.1f} MB")
            for name, files in sorted(config.variants.items())
        ),
        (
            "decoding",
            f"beam_size {decoding.beam_size}, length_penalty {decoding.length_penalty:g},"
            f" max_length {decoding.max_length}, max_source_length"
            f" {decoding.max_source_length}",
        ),
        (
            "runs here",
            runs_here.get("error") or "{variant} on {device}: {reason}".format_map(runs_here),
        ),
    ]
    for label, value in rows:
        click.echo(f"{label:<14}{value}")


def _languages(languages: Languages) -> str:
    text = f"{languages.source} -> {languages.target}"
    if languages.tagged == "none":
        return text
    side = "from and into" if languages.tagged == "both" else "into"
    return f"{text} by default; {side} {', '.join(sorted(languages.tags))}"


def _runs_here(config: ModelConfig) -> dict[str, str]:
    """The choice this machine would make, or the error it would give."""
    from tfm.runtime.device import choose, load_onnxruntime

    try:
        providers = load_onnxruntime().get_available_providers()
        return asdict(choose(config.variants, providers))
    except TfmError as error:
        return {"error": str(error)}
