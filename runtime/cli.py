"""The command `tfm`: `run` and `info`, and the commands other packages add by entry point."""

import errno
import json
import logging
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import EntryPoint, entry_points, requires
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from . import lines as text_lines
from .bundled import bundled_model
from .config import Languages, ModelConfig
from .errors import TfmError

if TYPE_CHECKING:
    from .translator import Translation, Translator

_MODEL_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


class CommandGroup(click.Group):
    """A group that finds more commands under the entry point group "tfm.commands".

    Errors meant for the user end as one line: TfmError with exit status 1, a missing extra
    with the pip command that brings it. Ctrl-C ends with 130, without a word.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_plugins()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is not None or cmd_name not in _plugins():
            return command
        try:
            plugin = _plugins()[cmd_name].load()
        except ModuleNotFoundError as error:
            return _broken_command(cmd_name, error)
        if not isinstance(plugin, click.Command):
            raise TypeError(f"entry point {cmd_name} is {plugin!r}: expected a click command")
        return plugin

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TfmError as error:
            raise click.ClickException(str(error)) from error
        except ModuleNotFoundError as error:
            command = ctx.invoked_subcommand or ""
            extra = _extra_with(error.name or "", command)
            if extra is None:
                raise
            raise click.ClickException(
                f"tfm {command} needs {error.name}: pip install 'tfm[{extra}]'"
            ) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader has seen enough: click ends quietly
                raise
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(130) from None


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="tfm.commands")}


def _broken_command(name: str, error: ModuleNotFoundError) -> click.Command:
    """Stands in `tfm --help` for a command that cannot load, and fails when it is called."""

    def fail(_args: tuple[str, ...]) -> NoReturn:
        raise error

    return click.Command(
        name,
        callback=fail,
        params=[click.Argument(["_args"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True},
        add_help_option=False,
        help=f"(not installed: needs {error.name})",
    )


def _extra_with(module: str, command: str) -> str | None:
    """The extra of tfm that installs a module, the command's namesake where several do."""
    package = re.escape(module.split(".")[0])
    extras = [
        match[1]
        for line in requires("tfm") or []
        if (match := re.match(rf"{package}\b(?!-).*extra == ['\"](\w+)['\"]", line))
    ]
    return command if command in extras else next(iter(extras), None)


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
    help="Translate the lines of this file.",
)
@click.option(
    "-o",
    "--output",
    "output_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write here instead of to stdout.",
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
    help="Write the N best of each line as `line ||| translation ||| score`, lines from 0.",
)
@click.option(
    "--length-penalty",
    type=click.FloatRange(0),
    help="Score = sum / length ** PENALTY.  [default: the model's]",
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

    Lines come out in their order; an empty line stays empty.

    \b
        tfm run '我爱你。'
        tfm run -i news.zh -o news.en
        cat news.zh | tfm run -m my-model > news.en
    """
    if text and input_file is not None:
        raise click.UsageError("give TEXT or -i, not both")
    if n_best is not None and beam_size is not None and n_best > beam_size:
        raise click.UsageError(f"--n-best {n_best} is more than --beam-size {beam_size}")
    if length_penalty is not None and not math.isfinite(length_penalty):
        raise click.UsageError(f"--length-penalty {length_penalty} is not a finite number")
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(message)s")

    translator = _open_translator(model, device, variant, threads)
    try:
        translator.config.languages.prefixes(source_language, target_language)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if n_best is not None and beam_size is None:
        beam_size = max(n_best, translator.config.decoding.beam_size)
    progress = text_lines.Progress(output_is_stdout=output_file is None)
    number = 0
    with text_lines.open_output(output_file) as output:
        for chunk in _chunks(text, input_file):
            for translation in translator.translate_batch(
                chunk,
                beam_size=beam_size,
                num_hypotheses=n_best or 1,
                length_penalty=length_penalty,
                max_length=max_length,
                source_language=source_language,
                target_language=target_language,
            ):
                for line in _lines_of(translation, None if n_best is None else number):
                    text_lines.write_line(output, line)
                number += 1
            output.flush()
            progress.add(len(chunk))
    progress.close()


def _open_translator(
    model: Path | None, device: str, variant: str | None, threads: int
) -> "Translator":
    from .translator import Translator

    return Translator(model, device=device, variant=variant, intra_threads=threads)


def _chunks(text: tuple[str, ...], input_file: Any) -> Iterator[list[str]]:
    if text:
        yield text_lines.split_texts(text)
        return
    stream: Any = sys.stdin.buffer if input_file is None else input_file
    if stream.isatty():
        click.echo("Translating line by line; Ctrl-D ends.", err=True)
    yield from text_lines.read_chunks(stream, getattr(stream, "name", "stdin"))


def _lines_of(translation: "Translation", number: int | None) -> Iterator[str]:
    if number is None:
        yield translation.text
        return
    for hypothesis in translation.hypotheses:
        yield f"{number} ||| {hypothesis.text} ||| {hypothesis.score:.6f}"


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
    from .device import choose, load_onnxruntime

    try:
        providers = load_onnxruntime().get_available_providers()
        return asdict(choose(config.variants, providers))
    except TfmError as error:
        return {"error": str(error)}
