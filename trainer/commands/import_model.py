"""`tfm import`: a model that others trained to a checkpoint."""

from pathlib import Path

import click


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("checkpoint", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--vocab",
    "vocabularies",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A vocabulary file, if there is none beside the model: a SentencePiece model (.spm), or"
    " Marian's numbered subwords (.yml) with their .spm beside them. Once for a joint vocabulary,"
    " or twice: source, then target.",
)
@click.option(
    "--source-language",
    metavar="CODE",
    help="The model's source language; for a model of many languages, the default.",
)
@click.option("--target-language", metavar="CODE", help="The same for the target language.")
def import_model(
    source: Path,
    checkpoint: Path,
    vocabularies: tuple[Path, ...],
    source_language: str | None,
    target_language: str | None,
) -> None:
    """Make a CHECKPOINT of SOURCE, a model that others trained.

    SOURCE is one of:

    \b
    - the folder of an OPUS-MT (Marian), M2M100 or NLLB model as Hugging Face lays it out
    - Marian's own: a .npz or .bin with --vocab, a decoder.yml, or a folder with one
    - a CTranslate2 folder, or an .argosmodel

    Symbolic links that point out of a folder are refused, except those of Hugging Face's cache.
    Where a model has several target languages, `>>fra<<` before a sentence chooses one.

    \b
        tfm import opus-mt-zh-en checkpoint
        tfm import model.npz --vocab source.spm --vocab target.spm other-checkpoint
        tfm export checkpoint model --sentences some.zh
        tfm run -m model '你好。'
    """
    from tfm.trainer.importing.sources import import_source

    if not source.exists():
        raise click.UsageError(
            f"{source} is not there: download the model first, for example with "
            f"`hf download {source} --local-dir FOLDER`"
        )
    model = import_source(source, checkpoint, vocabularies, source_language, target_language)
    config = model.config
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    click.echo(
        f"imported {config.encoder_layers}+{config.decoder_layers} layers, {millions:.1f} M "
        f"parameters, {config.source_language} -> {config.target_language}; next: tfm export "
        f"{checkpoint} MODEL_FOLDER --sentences FILE",
        err=True,
    )
