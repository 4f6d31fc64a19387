"""`tfm experiments`: a study of several trainings."""

from pathlib import Path

import click


@click.command()
@click.argument("study", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write: a checkpoint folder per variant, and the results.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Variants to train at a time; FOLDER/NAME.log has what each says.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="CPU threads of a variant (default: torch's choice; with --jobs, a share of the cores).",
)
def experiments(study: Path, folder: Path, jobs: int, threads: int | None) -> None:
    """Train every variant of a recipe that the file STUDY (TOML) names, and compare them.

    Writes results.md, results.json and study.png after each, and prints the table at the end.
    Ctrl-C and SIGTERM save and stop; the same command continues, and leaves out what is done.

    \b
        tfm experiments trainer/recipes/claims.toml --out claims
        tfm experiments study.toml --out study --jobs 8 --threads 1
    """
    import logging
    import os

    import matplotlib.figure  # noqa: F401
    import torch

    from tfm.trainer.device import keep_freed_memory
    from tfm.trainer.stopping import Interrupted
    from tfm.trainer.studies.results import as_table
    from tfm.trainer.studies.study import load_study, run_study

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise click.ClickException("a study trains in one process: start it without torchrun")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
    command = f"tfm experiments {study} --out {folder}"
    command += f" --jobs {jobs}" if jobs > 1 else ""
    command += f" --threads {threads}" if threads else ""
    try:
        results = run_study(load_study(study), folder, jobs=jobs, threads=threads or 0)
    except Interrupted as stop:
        click.echo(f"stopped, all is saved; continue with: {command}", err=True)
        raise click.exceptions.Exit(128 + stop.signal_number) from stop
    except KeyboardInterrupt as stop:  # between two trainings
        click.echo(f"stopped; continue with: {command}", err=True)
        raise click.exceptions.Exit(130) from stop
    click.echo(as_table(results), nl=False)
    click.echo(f"done: {len(results)} variants; see {folder / 'study.png'}", err=True)
