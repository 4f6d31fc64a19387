"""`tfm evaluate`: BLEU and chrF of a model folder or a checkpoint on a test set."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfm.runtime.commands.model_argument import ModelPath
from tfm.runtime.commands.options import decoding_options, usage_errors
from tfm.runtime.commands.output_paths import check_output
from tfm.runtime.files.atomic import write_text

from .options import tokenize_option

if TYPE_CHECKING:
    from tfm.export.evaluation.translators import EvaluatedSystem
    from tfm.runtime.options import DecodingOptions
    from tfm.trainer.data.corpora import ParallelText


@click.command()
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    metavar="[SYSTEM] TEST [REFERENCES]",
    type=ModelPath(file_okay=True),
)
@click.option(
    "-m",
    "--model",
    type=ModelPath(),
    envvar="TFM_MODEL",
    show_envvar=True,
    help="The same as SYSTEM.  [default: zh-en]",
)
@click.option(
    "--variant",
    "variants",
    multiple=True,
    help="Variant of a model folder to score; may be given several times.  [default: all]",
)
@click.option(
    "--weights",
    type=click.Choice(["model", "best", "average"]),
    help="Weights of a checkpoint to score. model: those that `tfm export` takes; best: those of "
    "the best validation; average: the mean of the last validations' weights.  [default: model]",
)
@decoding_options
@click.option("--threads", type=click.IntRange(0), default=0, help="0: one per core.")
@tokenize_option
@click.option("--reverse", is_flag=True, help="The columns of TEST are target, source, corpus.")
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
    decoding: dict[str, Any],
    threads: int,
    tokenize: str | None,
    reverse: bool,
    output: Path | None,
    json_file: Path | None,
    against: Path | None,
) -> None:
    """Score SYSTEM on TEST: BLEU and chrF per corpus.

    SYSTEM is a model folder, or a checkpoint, which PyTorch itself decodes by the same rules, on
    the CPU and more slowly. TEST is a .tsv of source, target and, optionally, corpus; or it has a
    source in each line, and REFERENCES the translations. Files may be .xz, .gz or .zst.

    Prints a Markdown table with sacrebleu's signatures.

    \b
        tfm evaluate test.tsv
        tfm evaluate my-model test.tsv --variant int8
        tfm evaluate checkpoint test.en.xz test.de.xz --weights best
    """
    from tfm.export.evaluation import evaluate as scoring
    from tfm.export.evaluation.translators import open_systems

    by_option = context.get_parameter_source("model") is click.core.ParameterSource.COMMANDLINE
    folder, test_files = _system_and_test(paths, model, by_option)
    for path in filter(None, (output, json_file)):
        check_output(path, [*test_files, *filter(None, [against])])
    if output and json_file and output.resolve() == json_file.resolve():
        raise click.UsageError(f"-o and --json are both {output}: write the scores elsewhere")
    if reverse and len(test_files) == 2:
        raise click.UsageError("--reverse is for a .tsv: exchange the two files instead")
    test = scoring.read_test(test_files, reverse)
    # Opened before the translating, which may take an hour: its errors are reported now.
    translate_other = against and _open_other(against, test, decoding, threads)
    evaluations = [
        scoring.evaluate(system, test, _options(system, decoding), tokenize)
        for system in open_systems(folder, variants, weights, threads)
    ]
    other = translate_other() if translate_other else None
    click.echo(scoring.as_table(evaluations))
    if output:
        lines = (" ".join(text.splitlines()) for text in evaluations[0].hypotheses)
        write_text(output, "".join(f"{line}\n" for line in lines))
    comparisons = [] if other is None else scoring.paired_bootstrap(evaluations[0], other)
    if comparisons:
        click.echo("\n" + scoring.comparison_table(evaluations[0].system, comparisons))
    if json_file:
        write_text(json_file, scoring.as_json(evaluations, comparisons))


def _options(system: "EvaluatedSystem", decoding: dict[str, Any]) -> "DecodingOptions":
    with usage_errors():
        options = system.options.changed(**decoding)
        options.check_vocabulary(system.vocab_size)
        return options


def _open_other(
    against: Path, test: "ParallelText", decoding: dict[str, Any], threads: int
) -> Callable[[], list[str]]:
    """A function that gives the translations of the system of --against."""
    from tfm.export.evaluation import evaluate as scoring
    from tfm.export.evaluation.translators import open_systems

    if not against.is_dir():
        translations = scoring.read_translations(against, len(test))
        return lambda: translations
    (system,) = open_systems(against, [None], threads=threads)
    options = _options(system, decoding)
    return lambda: system.translate(test.sources, options)


def _system_and_test(
    paths: tuple[Path, ...], model: Path | None, by_option: bool
) -> tuple[Path | None, tuple[Path, ...]]:
    """Split the arguments into the system's folder and the files of the test set.

    Args:
        paths: [SYSTEM] TEST [REFERENCES]; SYSTEM is a folder, the others are files
        model: of -m or of the environment, or None
        by_option: model comes from -m, and not from the environment, which SYSTEM overrides

    Returns:
        the system's folder, None for the bundled model; and one or two files
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
