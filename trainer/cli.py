"""`tfm train`. Only click is imported here: torch must not slow `tfm --help`."""

from pathlib import Path

import click


@click.command()
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Checkpoint folder to write.",
)
@click.option(
    "--resume", is_flag=True, help="Continue the training in the folder, if there is one."
)
@click.option(
    "--init",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Begin from this checkpoint's weights, with its model and vocabulary: fine-tuning.",
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads (default: torch's choice).")
def train(recipe: Path, folder: Path, resume: bool, init: Path | None, threads: int | None) -> None:
    """Train a Transformer as the file RECIPE (TOML) says.

    Ctrl-C and SIGTERM save and stop; --resume continues exactly where it stopped.

    \b
        tfm train recipe.toml --out checkpoint
        tfm export checkpoint model
        tfm run -m model '你好。'
    """
    import logging

    import torch

    from .config import load_recipe
    from .errors import TrainError
    from .train import Interrupted
    from .train import train as run

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if threads:
        torch.set_num_threads(threads)
    try:
        progress = run(load_recipe(recipe), recipe, folder, resume=resume, init=init)
    except TrainError as error:
        raise click.ClickException(str(error)) from error
    except Interrupted as stop:
        click.echo(
            f"stopped at step {stop.step}; continue with: "
            f"tfm train {recipe} --out {folder}{f' --init {init}' if init else ''} --resume",
            err=True,
        )
        raise click.exceptions.Exit(128 + stop.signal_number) from stop
    click.echo(
        f"done: {progress.step} steps, best validation loss {progress.best_loss:.4f}; "
        f"next: tfm export {folder} MODEL_FOLDER",
        err=True,
    )
