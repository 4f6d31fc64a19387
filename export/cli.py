"""`tfm export`, `evaluate` and `convert`. Only click is imported here: see trainer/cli.py."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tfm.runtime.errors import TfmError
from tfm.runtime.files.atomic import new_folder
from tfm.runtime.files.text import read_lines

if TYPE_CHECKING:
    from tfm.export.evaluation.verify import VariantReport
    from tfm.export.quantization.tune import Development


def _known_tokenizer(
    context: click.Context, parameter: click.Parameter, name: str | None
) -> str | None:
    """Refuse a name that sacrebleu does not know, before anything is computed."""
    if name is not None:
        import sacrebleu

        if name not in sacrebleu.BLEU.TOKENIZERS:
            names = ", ".join(sacrebleu.BLEU.TOKENIZERS)
            raise click.BadParameter(f"{name!r} is not one of {names}")
    return name


tokenize_option = click.option(
    "--tokenize",
    metavar="NAME",
    callback=_known_tokenizer,
    help="sacrebleu's tokenizer for BLEU: 13a, zh, intl, char, flores200, ...; none for "
    "references that are tokens already.  [default: the target language's]",
)


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("model_folder", type=click.Path(path_type=Path))
@click.option(
    "--variant",
    "variants",
    multiple=True,
    default=("int8", "fp32"),
    show_default=True,
    type=click.Choice(["int8", "int4", "fp16", "fp32"]),
    help="What to export; may be given several times. int8 is the fastest on a CPU, int4 the "
    "smallest; fp16 is for CUDA.",
)
@click.option(
    "--sentences",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Calibrate and verify on these: plain text, one sentence a line, or source<TAB>target.  "
    "[default: the checkpoint's validation.tsv]",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="Calibrate and verify on so many of them.",
)
@click.option(
    "--dev",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Measure quality, size and speed of every variant against fp32 on these lines of "
    "source<TAB>target; not the ones that you test on.",
)
@click.option(
    "--max-loss",
    type=click.FloatRange(0),
    help="What a variant may lose on --dev, in chrF points: the most sensitive products stay in "
    "float until it does not lose more.",
)
@tokenize_option
def export(
    checkpoint: Path,
    model_folder: Path,
    variants: tuple[str, ...],
    sentences: Path | None,
    limit: int,
    dev: Path | None,
    max_loss: float | None,
    tokenize: str | None,
) -> None:
    """Export CHECKPOINT to MODEL_FOLDER, for `tfm run -m MODEL_FOLDER`.

    Every variant is verified through the runtime against PyTorch; the proof is printed and kept
    as verify.json. A variant that fails leaves MODEL_FOLDER as it was.
    """
    import logging

    from .model_folder import export_checkpoint

    if max_loss is not None and dev is None:
        raise click.UsageError("--max-loss needs --dev: sentences to measure the loss on")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("tfm.export").setLevel(logging.INFO)
    sources, references = _sentences(sentences or checkpoint / "validation.tsv", limit)
    development = None if dev is None else _development(dev, max_loss, tokenize)
    reports = export_checkpoint(
        checkpoint,
        model_folder,
        list(dict.fromkeys(variants)),
        sources,
        references,
        development,
        tokenize,
    )
    click.echo(_table(reports))
    click.echo(f"wrote {model_folder}; try: tfm run -m {model_folder}", err=True)


@click.command()
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    metavar="[SYSTEM] TEST [REFERENCES]",
    type=click.Path(exists=True, path_type=Path),
)
@click.option(
    "-m",
    "--model",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="TFM_MODEL",
    show_envvar=True,
    help="The same as SYSTEM.  [default: the bundled model]",
)
@click.option(
    "--variant",
    "variants",
    multiple=True,
    help="Which of a model folder to score.  [default: all there are]",
)
@click.option(
    "--weights",
    type=click.Choice(["model", "best", "average"]),
    help="Which of a checkpoint to score: those to export, of the best validation, or the mean of "
    "the last validations.  [default: model]",
)
@click.option("--beam-size", type=click.IntRange(1), help="[default: the model's own]")
@click.option("--threads", type=click.IntRange(0), default=0, help="0: one per core.")
@tokenize_option
@click.option("--reverse", is_flag=True, help="TEST is a .tsv of target, source and corpus.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the first variant's translations here, one a line.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write all scores here, for programs.",
)
@click.option(
    "--against",
    type=click.Path(exists=True, path_type=Path),
    help="Another system: its translations of TEST, one a line, such as -o wrote, or a model "
    "folder or checkpoint. Is the difference more than chance? (paired bootstrap)",
)
@click.pass_context
def evaluate(
    context: click.Context,
    paths: tuple[Path, ...],
    model: Path | None,
    variants: tuple[str, ...],
    weights: str | None,
    beam_size: int | None,
    threads: int,
    tokenize: str | None,
    reverse: bool,
    output: Path | None,
    json_file: Path | None,
    against: Path | None,
) -> None:
    """Score SYSTEM on TEST: BLEU and chrF per corpus.

    SYSTEM is a model folder, or a checkpoint, which PyTorch itself decodes by the same rules, on
    the CPU and more slowly. TEST is a .tsv of source, target and corpus; or sources, one a line,
    and REFERENCES has the translations. Files may be .xz.

    Prints a Markdown table with sacrebleu's signatures.

    \b
        tfm evaluate test.tsv
        tfm evaluate my-model test.tsv --variant int8
        tfm evaluate checkpoint test.en.xz test.de.xz --weights best
    """
    from tfm.export.evaluation import evaluate as scoring
    from tfm.export.evaluation.translators import open_systems

    by_option = context.get_parameter_source("model") is click.core.ParameterSource.COMMANDLINE
    system, test_files = _system_and_test(paths, model, by_option)
    for path in (output, json_file):
        if path is not None and not path.parent.is_dir():
            raise click.ClickException(f"{path}: there is no folder {path.parent}; make it first")
    if reverse and len(test_files) == 2:
        raise click.UsageError("--reverse is for a .tsv: exchange the two files instead")
    test = scoring.read_test(test_files, reverse)
    # Before the hour of translating: what is wrong with it is said now.
    other = rival = None
    if against and against.is_file():
        other = scoring.read_translations(against, len(test))
    elif against:
        (rival,) = open_systems(against, [None], threads=threads)
    evaluations = [
        scoring.evaluate(one, test, beam_size, tokenize)
        for one in open_systems(system, variants, weights, threads)
    ]
    if rival:
        other = rival.translate(test.sources, beam_size)
    click.echo(scoring.as_table(evaluations))
    if output:
        lines = (" ".join(text.splitlines()) for text in evaluations[0].hypotheses)
        output.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    comparisons = [] if other is None else scoring.paired_bootstrap(evaluations[0], other)
    if comparisons:
        click.echo("\n" + scoring.comparison_table(evaluations[0].system, comparisons))
    if json_file:
        json_file.write_text(scoring.as_json(evaluations, comparisons), "utf-8")


def _system_and_test(
    paths: tuple[Path, ...], model: Path | None, by_option: bool
) -> tuple[Path | None, tuple[Path, ...]]:
    """The system (None: the bundled model), which is a folder, and the files of the test set.

    by_option: model is of -m, not of the environment, which an argument overrides
    """
    if paths[0].is_dir():
        if by_option:
            raise click.UsageError(f"two systems, {paths[0]} and -m {model}: see --against")
        model, paths = paths[0], paths[1:]
    if not paths:
        raise click.UsageError("Missing argument 'TEST'.")
    for path in paths:
        if path.is_dir():
            raise click.UsageError(f"{path} is a folder: a test set is one file or two")
    if len(paths) > 2:
        raise click.UsageError(f"{len(paths)} files: a test set is a .tsv, or TEST and REFERENCES")
    tables = [path for path in paths if ".tsv" in path.suffixes]
    if len(paths) == 2 and tables:
        raise click.UsageError(f"{tables[0]} has both sides: give it alone")
    return model, paths


@click.command()
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--to",
    required=True,
    type=click.Choice(["checkpoint", "ctranslate2", "transformers"]),
    help="Which format to write.",
)
@click.option(
    "--quantization",
    type=click.Choice(["int8", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16"]),
    help="How CTranslate2 is to store the weights.  [default: in float32]",
)
def convert(source: Path, folder: Path, to: str, quantization: str | None) -> None:
    """Write SOURCE, a checkpoint or a model folder, to FOLDER in another format.

    ctranslate2 and transformers: for other engines, with the tokenizer. transformers has classes
    for Marian (what `tfm train` made post-norm) and for what `tfm import` read.

    checkpoint: of a model folder, to fine-tune it with `tfm train --init`. From fp32 where it has
    that, else from the 8-bit weights.

    \b
        tfm convert checkpoint my-marian --to transformers
        tfm convert checkpoint my-ct2 --to ctranslate2 --quantization int8
        tfm convert my-model checkpoint --to checkpoint
    """
    from tfm.export.formats.read_model_folder import load_model
    from tfm.export.formats.transformers import write_transformers

    if quantization and to != "ctranslate2":
        raise click.UsageError("--quantization is for --to ctranslate2")
    if folder.exists():
        raise click.ClickException(f"{folder} exists: choose a new folder")
    if to == "ctranslate2":
        from tfm.export.formats.ctranslate2 import write_ctranslate2
    model, vocabulary = load_model(source)
    with new_folder(folder) as partial:
        if to == "ctranslate2":
            write_ctranslate2(model, partial, vocabulary, quantization, longest=1030)
        elif to == "transformers":
            write_transformers(model, partial, vocabulary, source)
        else:
            from tfm.trainer.checkpoint import write_checkpoint

            write_checkpoint(partial, model, vocabulary)
    click.echo(f"wrote {folder}", err=True)


def _development(path: Path, max_loss: float | None, tokenize: str | None) -> "Development":
    from tfm.export.quantization.tune import Development

    rows = [line.split("\t") for line in _lines(path)]
    for number, row in enumerate(rows, 1):
        if len(row) < 2:
            raise click.ClickException(
                f"{path}: sentence {number} has no translation: lines are source<TAB>target"
            )
    return Development([row[0] for row in rows], [row[1] for row in rows], max_loss, tokenize)


def _sentences(path: Path, limit: int) -> tuple[list[str], list[str] | None]:
    """Evenly spread lines of the file, and their translations where every line has one."""
    lines = _lines(path)
    count = min(limit, len(lines))
    rows = [lines[i * len(lines) // count].split("\t") for i in range(count)]
    sources = [row[0] for row in rows]
    return sources, [row[1] for row in rows] if all(len(row) > 1 for row in rows) else None


def _lines(path: Path) -> list[str]:
    """The lines of a file that are not blank."""
    if not path.exists():
        raise TfmError(f"{path}: not found; name sentences to verify on with --sentences")
    lines = [line for line in read_lines(path) if line.strip()]
    if not lines:
        raise click.ClickException(f"{path}: holds no sentence to verify on")
    return lines


def _table(reports: "dict[str, VariantReport]") -> str:
    heads = ["variant", "max diff", "greedy = torch", "beam 4 = torch", "alone = batch",
             "chrF to torch", "BLEU", "chrF"]  # fmt: skip
    rows = [heads]
    for name, report in reports.items():
        scores, greedy, beam = report.scores, report.greedy, report.beam
        rows.append(
            [
                name,
                f"{max(report.max_abs_diff.values()):.1e}",
                f"{greedy.equal}/{greedy.sentences}",
                f"{beam.equal}/{beam.sentences}",
                f"{report.alone_equals_batched:.1%}",
                f"{report.chrf_against_torch:.1f}",
                f"{scores.bleu:.1f}" if scores else "-",
                f"{scores.chrf:.1f}" if scores else "-",
            ]
        )
    return "\n\n".join([_aligned(rows), *_quality(reports)])


def _quality(reports: "dict[str, VariantReport]") -> list[str]:
    """A second table for what was measured on --dev, if anything was."""
    rows = [["variant", "MB", "speed", "dev BLEU", "dev chrF", "chrF lost"]]
    kept = []
    for name, report in reports.items():
        if report.quality is None:
            return []
        quality = report.quality
        rows.append(
            [
                name,
                f"{quality.megabytes:.1f}",
                f"{quality.speed:.2f}x",
                f"{quality.scores.bleu:.2f}",
                f"{quality.scores.chrf:.2f}",
                f"{quality.chrf_loss:.2f}",
            ]
        )
        if quality.kept_float:
            kept.append(f"{name} keeps in float: {', '.join(quality.kept_float)}")
    return [_aligned(rows), *kept]


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
