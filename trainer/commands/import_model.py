"""`tfm import`: a model that others trained to a checkpoint."""

from pathlib import Path

import click

from tfm.runtime.files.folder_kind import FolderKind, wrong_kind


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
    and the tokenizer's files. Links that lead out of the folder are not followed, but for a hub's
    cache. Of a model with several target languages, `>>fra<<` before a sentence chooses one.

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
    if problem := wrong_kind(source, FolderKind.HUGGING_FACE):
        raise click.ClickException(problem)
    model = import_folder(source, checkpoint, source_language, target_language)
    config = model.config
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    click.echo(
        f"imported {config.encoder_layers}+{config.decoder_layers} layers, {millions:.1f} M "
        f"parameters, {config.source_language} -> {config.target_language}; next: tfm export "
        f"{checkpoint} MODEL_FOLDER --sentences FILE",
        err=True,
    )
