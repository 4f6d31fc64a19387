"""`tfm train`: a recipe to a checkpoint."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tfm.trainer.threads import ThreadWatch


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
    help="Fine-tune: begin with this checkpoint's weights, model and vocabulary. The recipe's "
    "[model], except dropout, and its [vocabulary] count for nothing.",
)
@click.option(
    "--new-vocabulary",
    is_flag=True,
    help="With --init: train the recipe's vocabulary, and keep the embeddings of pieces that both "
    "vocabularies have.",
)
@click.option(
    "--grow",
    "larger",
    is_flag=True,
    help="With --init: enlarge the model to the recipe's encoder_layers, decoder_layers and d_ff. "
    "At first it translates as before. For pre-norm models; an SSRU decoder gets no more layers.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="CPU threads, always this many (default: one a core; fewer while other programs want "
    "the processors).",
)
@click.option("--tensorboard", is_flag=True, help="Write the metrics for TensorBoard too.")
def train(
    recipe: Path,
    folder: Path,
    resume: bool,
    init: Path | None,
    new_vocabulary: bool,
    larger: bool,
    threads: int | None,
    tensorboard: bool,
) -> None:
    """Train a Transformer as the file RECIPE (TOML) says.

    Ctrl-C and SIGTERM save and stop; --resume continues exactly where it stopped.

    \b
        tfm train recipe.toml --out checkpoint
        tfm export checkpoint model
        tfm run -m model '你好。'

    Under torchrun, several processes share the batches of each update. Set accumulate_steps in
    the recipe to at least the number of processes:

    \b
        torchrun --nproc-per-node 2 --no-python tfm train recipe.toml --out checkpoint
    """
    import logging

    # If these are not installed, say so now and not at the first validation.
    import matplotlib.figure  # noqa: F401

    from tfm.trainer.config import load_recipe
    from tfm.trainer.device import keep_freed_memory
    from tfm.trainer.errors import LocalError, TrainError
    from tfm.trainer.processes import Processes, join_processes
    from tfm.trainer.stopping import Interrupted
    from tfm.trainer.train import train as run

    _check_init(init, new_vocabulary=new_vocabulary, larger=larger)
    keep_freed_memory()
    watch = _watch(threads)
    processes = Processes()
    try:
        with join_processes() as processes:
            level = logging.INFO if processes.is_main else logging.ERROR
            logging.basicConfig(level=level, format="%(message)s")
            state = run(
                load_recipe(recipe),
                folder,
                resume=resume,
                init=init,
                new_vocabulary=new_vocabulary,
                larger=larger,
                processes=processes,
                tensorboard=tensorboard,
                threads=watch,
            )
    except LocalError as error:
        where = f"process {processes.rank}: " if processes.count > 1 else ""
        raise click.ClickException(f"{where}{error}; {_saved_state(folder)}") from error
    except TrainError as error:
        if not processes.is_main:  # the main process reports it
            raise click.exceptions.Exit(1) from error
        raise click.ClickException(str(error)) from error
    except Interrupted as stop:
        if processes.is_main:
            command = _resume_command(recipe, folder, threads, tensorboard)
            click.echo(f"stopped at step {stop.step}; continue with: {command}", err=True)
        raise click.exceptions.Exit(128 + stop.signal_number) from stop
    if processes.is_main:
        click.echo(
            f"done: {state.step} steps, validation loss {state.exported_loss:.4f}; "
            f"next: tfm export {folder} MODEL_FOLDER",
            err=True,
        )


def _check_init(init: Path | None, *, new_vocabulary: bool, larger: bool) -> None:
    """Raise UsageError where --init is missing."""
    if new_vocabulary and init is None:
        raise click.UsageError(
            "--new-vocabulary needs --init: without it the vocabulary is trained anyway"
        )
    if larger and init is None:
        raise click.UsageError("--grow needs --init: without it the model has the recipe's sizes")


def _watch(threads: int | None) -> "ThreadWatch | None":
    """Set the number of CPU threads; what is to change it, unless the user chose one."""
    import torch

    from tfm.runtime.cpu import usable_cpus
    from tfm.trainer.threads import ThreadWatch, default_threads

    if threads is None:
        return None if "OMP_NUM_THREADS" in os.environ else ThreadWatch(default_threads())
    torch.set_num_threads(threads)
    if threads > usable_cpus():
        click.echo(
            f"--threads {threads}: this process may use {usable_cpus()} processors, and more "
            "threads are slower",
            err=True,
        )
    return None


def _saved_state(folder: Path) -> str:
    """What is left of a training that ended with an error."""
    from tfm.trainer.checkpoint import CheckpointFolder

    last = CheckpointFolder(folder).last
    return f"the state in {last} is whole" if last.exists() else "no state was saved yet"


def _resume_command(recipe: Path, folder: Path, threads: int | None, tensorboard: bool) -> str:
    command = f"tfm train {recipe} --out {folder} --resume"
    command += f" --threads {threads}" if threads else ""
    return command + (" --tensorboard" if tensorboard else "")
