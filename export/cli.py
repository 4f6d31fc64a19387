"""`tfm export` and `tfm evaluate`. Only click is imported here: see trainer/cli.py."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from .verify import VariantReport


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("model_folder", type=click.Path(path_type=Path))
@click.option(
    "--variant",
    "variants",
    multiple=True,
    default=("int8", "fp32"),
    show_default=True,
    type=click.Choice(["int8", "fp32"]),
    help="What to export; may be given several times.",
)
@click.option(
    "--sentences",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Verify on these: one sentence a line, or source<TAB>target.  [default: the "
    "checkpoint's validation.tsv]",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="Verify on so many of them.",
)
def export(
    checkpoint: Path,
    model_folder: Path,
    variants: tuple[str, ...],
    sentences: Path | None,
    limit: int,
) -> None:
    """Export CHECKPOINT to MODEL_FOLDER, for `tfm run -m MODEL_FOLDER`.

    Every variant is verified through the runtime against PyTorch; the proof is printed and kept
    as verify.json. A variant that fails leaves MODEL_FOLDER as it was.
    """
    import logging

    from tfm.trainer.errors import TrainError

    from .model_folder import export_checkpoint

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("tfm.export").setLevel(logging.INFO)
    try:
        sources, references = _sentences(sentences or checkpoint / "validation.tsv", limit)
        reports = export_checkpoint(
            checkpoint, model_folder, list(dict.fromkeys(variants)), sources, references
        )
    except TrainError as error:
        raise click.ClickException(str(error)) from error
    click.echo(_table(reports))
    click.echo(f"wrote {model_folder}; try: tfm run -m {model_folder}", err=True)


@click.command()
@click.argument("test", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-m",
    "--model",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="TFM_MODEL",
    show_envvar=True,
    help="Model folder.  [default: the bundled model]",
)
@click.option(
    "--variant", "variants", multiple=True, help="Which to score.  [default: all there are]"
)
@click.option("--beam-size", type=click.IntRange(1), help="[default: the model's own]")
@click.option("--threads", type=click.IntRange(0), default=0, help="0: one per core.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the first variant's translations here, one a line.",
)
def evaluate(
    test: Path,
    model: Path | None,
    variants: tuple[str, ...],
    beam_size: int | None,
    threads: int,
    output: Path | None,
) -> None:
    """Score a model on TEST, a .tsv of source, target and corpus: BLEU and chrF per corpus.

    Prints a Markdown table with sacrebleu's signatures.
    """
    from tfm.trainer.errors import TrainError

    from .evaluate import as_table, evaluate_folder

    try:
        evaluations = evaluate_folder(model, test, variants, beam_size, threads)
    except TrainError as error:
        raise click.ClickException(str(error)) from error
    if output:
        lines = (" ".join(text.splitlines()) for text in evaluations[0].hypotheses)
        output.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    click.echo(as_table(evaluations))


def _sentences(path: Path, limit: int) -> tuple[list[str], list[str] | None]:
    """Evenly spread lines of the file, and their translations where every line has one."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise click.ClickException(
            f"{path}: not found; name sentences to verify on with --sentences"
        ) from error
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{path}: not UTF-8 text: {error}") from error
    lines = [line.rstrip("\r") for line in text.split("\n") if line.strip()]
    if not lines:
        raise click.ClickException(f"{path}: holds no sentence to verify on")
    count = min(limit, len(lines))
    rows = [lines[i * len(lines) // count].split("\t") for i in range(count)]
    sources = [row[0] for row in rows]
    return sources, [row[1] for row in rows] if all(len(row) > 1 for row in rows) else None


def _table(reports: "dict[str, VariantReport]") -> str:
    heads = ("variant", "max diff", "greedy = torch", "beam 4 = torch", "alone = batch",
             "chrF to torch", "BLEU", "chrF")  # fmt: skip
    rows = [heads]
    for name, report in reports.items():
        scores, greedy, beam = report.scores, report.greedy, report.beam
        rows.append(
            (
                name,
                f"{max(report.max_abs_diff.values()):.1e}",
                f"{greedy.equal}/{greedy.sentences}",
                f"{beam.equal}/{beam.sentences}",
                f"{report.alone_equals_batched:.1%}",
                f"{report.chrf_against_torch:.1f}",
                f"{scores.bleu:.1f}" if scores else "-",
                f"{scores.chrf:.1f}" if scores else "-",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
