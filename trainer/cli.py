"""`tfm train` and `tfm import`. Only click is imported here: torch must not slow `tfm --help`."""

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
            f"tfm train {recipe} --out {folder} --resume",
            err=True,
        )
        raise click.exceptions.Exit(128 + stop.signal_number) from stop
    click.echo(
        f"done: {progress.step} steps, best validation loss {progress.best_loss:.4f}; "
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
    from .errors import TrainError
    from .hugging_face import import_folder

    if not source.is_dir():
        raise click.UsageError(
            f"{source} is not a folder: download the model first, for example with "
            f"`hf download {source} --local-dir FOLDER`"
        )
    try:
        model = import_folder(source, checkpoint, source_language, target_language)
    except TrainError as error:
        raise click.ClickException(str(error)) from error
    config = model.config
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    click.echo(
        f"imported {config.encoder_layers}+{config.decoder_layers} layers, {millions:.1f} M "
        f"parameters, {config.source_language} -> {config.target_language}; next: tfm export "
        f"{checkpoint} MODEL_FOLDER --sentences FILE",
        err=True,
    )
