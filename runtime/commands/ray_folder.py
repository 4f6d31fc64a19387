"""`tfm ray`: translates folders of Parquet or JSON lines on Ray."""

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfm.runtime.files.display import printable

from .model_options import model_options_without_threads
from .options import decoding_options, usage_errors

if TYPE_CHECKING:
    from tfm.runtime.cluster.folder_job import FolderJob
    from tfm.runtime.cluster.ray_job import Actors
    from tfm.runtime.cluster.table_translator import TableTranslator

_MOST_NAMED = 5  # files


@click.command("ray")
@click.argument("source", metavar="INPUT", type=click.Path(exists=True, path_type=Path))
@click.argument("output", metavar="OUTPUT", type=click.Path(file_okay=False, path_type=Path))
@click.option("--column", default="text", show_default=True, help="The texts to translate.")
@click.option("--output-column", default="translation", show_default=True)
@click.option(
    "--error-column",
    default="error",
    show_default=True,
    help="Says why a row has no translation, or only a part.",
)
@click.option(
    "--actors",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes that translate, each with a model of its own.",
)
@click.option(
    "--threads-per-actor", "threads", type=click.IntRange(1), default=1, show_default=True
)
@click.option("--address", help="Of a running Ray cluster: auto, or ray://HOST:10001.")
@click.option(
    "--rows-per-task",
    type=click.IntRange(1),
    default=2000,
    show_default=True,
    help="About how many rows are lost when an actor dies.",
)
@click.option(
    "--split/--no-split",
    default=True,
    show_default=True,
    help="Translate texts sentence by sentence, so that nothing of a long one is cut off.",
)
@click.option("--overwrite", is_flag=True, help="Translate finished files again.")
@model_options_without_threads
@decoding_options
def ray_folder(
    source: Path,
    output: Path,
    *,
    actors: int,
    threads: int,
    address: str | None,
    rows_per_task: int,
    overwrite: bool,
    decoding: dict[str, Any],
    **how: Any,
) -> None:
    """Translate a column of all .parquet and .jsonl files in INPUT on Ray, into OUTPUT.

    Each file becomes one of the same name, with a column of translations and one of errors. Files
    appear whole or not at all; a run that was stopped goes on where it was, and finished files are
    left alone. INPUT, OUTPUT and the model must be under the same paths on every machine.
    """
    from tfm.runtime.cluster.folder_job import FolderJob
    from tfm.runtime.cluster.ray_job import Actors, check_address
    from tfm.runtime.cluster.table_translator import TableTranslator

    with usage_errors():
        translator = TableTranslator(intra_threads=threads, **how, **decoding)
        loaded = translator.translator()
        options = loaded.options.changed(**decoding)
        loaded.config.languages.prefixes(how["source_language"], how["target_language"])
    names = ("column", "output_column", "error_column", "split")
    settings = {
        "model": loaded.fingerprint,
        **{name: how[name] for name in (*names, "source_language", "target_language")},
        "options": json.loads(json.dumps(asdict(options))),
    }
    job = FolderJob(
        source, output, translator, settings, rows_per_task=rows_per_task, overwrite=overwrite
    )
    if address is not None and job.tasks:
        check_address(address)  # before anything is written
    with job.open():
        if job.tasks:
            _run(job, translator, Actors(actors, threads, address))
    _report(job)


def _run(job: "FolderJob", translator: "TableTranslator", actors: "Actors") -> None:
    """Run the tasks, with a bar on stderr where that is a terminal."""
    from tqdm import tqdm

    from tfm.runtime.cluster.pieces import Counts
    from tfm.runtime.cluster.ray_job import run_tasks

    rows = errors = 0
    with (
        tqdm(total=len(job.tasks), unit="task", disable=None) as progress,
        contextlib.closing(run_tasks(job.tasks, translator, actors)) as results,
    ):
        for task, found in results:
            if found["failed"]:
                job.fail(task, found["failed"])
            else:
                job.done(task, Counts(int(found["rows"]), int(found["errors"])))
            rows, errors = rows + int(found["rows"]), errors + int(found["errors"])
            progress.set_postfix(rows=rows, errors=errors, refresh=False)
            progress.update()


def _report(job: "FolderJob") -> None:
    """What was done, on stderr; the exit status is 1 if a file failed."""
    rows = sum(counts.rows for counts in job.counts.values())
    errors = sum(counts.errors for counts in job.counts.values())
    text = f"{len(job.counts)} files in {job.output}, {rows} rows"
    text += f", {job.finished} of the files were finished before" if job.finished else ""
    click.echo(printable(text), err=True)
    if errors:
        named = [name for name, counts in job.counts.items() if counts.errors]
        more = ", ..." if len(named) > _MOST_NAMED else ""
        listed = ", ".join(named[:_MOST_NAMED]) + more
        click.echo(printable(f"Warning: {errors} rows have an error, in {listed}"), err=True)
    for name, error in job.failed.items():
        click.echo(printable(f"Error: {name}: {error}"), err=True)
    if job.failed:
        raise click.exceptions.Exit(1)
