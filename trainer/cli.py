"""`tfm train`, `tfm experiments` and `tfm import`. Only click is imported here: torch must not slow
`tfm --help`."""

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
@click.option("--tensorboard", is_flag=True, help="Write the metrics for TensorBoard too.")
def train(
    recipe: Path,
    folder: Path,
    resume: bool,
    init: Path | None,
    threads: int | None,
    tensorboard: bool,
) -> None:
    """Train a Transformer as the file RECIPE (TOML) says.

    Ctrl-C and SIGTERM save and stop; --resume continues exactly where it stopped.

    \b
        tfm train recipe.toml --out checkpoint
        tfm export checkpoint model
        tfm run -m model '你好。'

    Under torchrun, several processes share the accumulate_steps batches of each update, so there
    must be as many:

    \b
        torchrun --nproc-per-node 2 --no-python tfm train recipe.toml --out checkpoint
    """
    import logging

    # What is not installed is said now, not at the first validation.
    import matplotlib.figure  # noqa: F401
    import torch

    from .checkpoint import CheckpointFolder
    from .config import load_recipe
    from .device import keep_freed_memory
    from .errors import LocalError, TrainError
    from .processes import Processes, join_processes
    from .stopping import Interrupted
    from .train import train as run

    if tensorboard:
        import torch.utils.tensorboard
    keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
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
                processes=processes,
                tensorboard=tensorboard,
            )
    except LocalError as error:
        last = CheckpointFolder(folder).last
        kept = f"the state in {last} is whole" if last.exists() else "no state was saved yet"
        where = f"process {processes.rank}: " if processes.count > 1 else ""
        raise click.ClickException(f"{where}{error}; {kept}") from error
    except TrainError as error:
        if not processes.is_main:  # which says it
            raise click.exceptions.Exit(1) from error
        raise click.ClickException(str(error)) from error
    except Interrupted as stop:
        if processes.is_main:
            again = f"tfm train {recipe} --out {folder} --resume"
            again += f" --threads {threads}" if threads else ""
            again += " --tensorboard" if tensorboard else ""
            click.echo(f"stopped at step {stop.step}; continue with: {again}", err=True)
        raise click.exceptions.Exit(128 + stop.signal_number) from stop
    if processes.is_main:
        click.echo(
            f"done: {state.step} steps, validation loss {state.exported_loss:.4f}; "
            f"next: tfm export {folder} MODEL_FOLDER",
            err=True,
        )


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("checkpoint", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--source-language",
    metavar="CODE",
    help="What it translates from; of a model of many languages, the default.",
)
@click.option("--target-language", metavar="CODE", help="The same of what it translates into.")
def import_model(
    source: Path, checkpoint: Path, source_language: str | None, target_language: str | None
) -> None:
    """Make a CHECKPOINT of SOURCE, the folder of an OPUS-MT (Marian), M2M100 or NLLB model.

    SOURCE is as Hugging Face lays it out: config.json, model.safetensors or pytorch_model.bin,
    and the tokenizer's files.

    \b
        tfm import opus-mt-zh-en checkpoint
        tfm export checkpoint model --sentences some.zh
        tfm run -m model '你好。'
    """
    from tfm.trainer.importing.hugging_face import import_folder

    if not source.is_dir():
        raise click.UsageError(
            f"{source} is not a folder: download the model first, for example with "
            f"`hf download {source} --local-dir FOLDER`"
        )
    model = import_folder(source, checkpoint, source_language, target_language)
    config = model.config
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    click.echo(
        f"imported {config.encoder_layers}+{config.decoder_layers} layers, {millions:.1f} M "
        f"parameters, {config.source_language} -> {config.target_language}; next: tfm export "
        f"{checkpoint} MODEL_FOLDER --sentences FILE",
        err=True,
    )


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

    from tfm.trainer.studies.results import as_table
    from tfm.trainer.studies.study import load_study, run_study

    from .device import keep_freed_memory
    from .stopping import Interrupted

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise click.ClickException("a study trains in one process: start it without torchrun")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
    again = f"tfm experiments {study} --out {folder}"
    again += f" --jobs {jobs}" if jobs > 1 else ""
    again += f" --threads {threads}" if threads else ""
    try:
        results = run_study(load_study(study), folder, jobs=jobs, threads=threads or 0)
    except Interrupted as stop:
        click.echo(f"stopped, all is saved; continue with: {again}", err=True)
        raise click.exceptions.Exit(128 + stop.signal_number) from stop
    except KeyboardInterrupt as stop:  # between two trainings
        click.echo(f"stopped; continue with: {again}", err=True)
        raise click.exceptions.Exit(130) from stop
    click.echo(as_table(results), nl=False)
    click.echo(f"done: {len(results)} variants; see {folder / 'study.png'}", err=True)
