"""`tfm convert`: a checkpoint or a model folder in another format."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tfm.runtime.commands.model_argument import ModelPath
from tfm.runtime.files.atomic import new_folder
from tfm.runtime.files.folder_kind import FolderKind, wrong_kind

if TYPE_CHECKING:
    from tfm.trainer.data.vocabulary import Vocabulary
    from tfm.trainer.model import Transformer

_READABLE = (FolderKind.CHECKPOINT, FolderKind.MODEL_FOLDER)


@click.command()
@click.argument("source", type=ModelPath())
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--to",
    required=True,
    type=click.Choice(["checkpoint", "ctranslate2", "ort", "transformers"]),
    help="Which format to write.",
)
@click.option(
    "--quantization",
    type=click.Choice(["int8", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16"]),
    help="How CTranslate2 is to store the weights.  [default: in float32]",
)
def convert(source: Path, folder: Path, to: str, quantization: str | None) -> None:
    """Write SOURCE, a checkpoint or a model folder, to FOLDER in another format.

    ctranslate2 and transformers: for other engines, with the tokenizer. transformers has classes
    for Marian (what `tfm train` made post-norm) and for what `tfm import` read.

    ort: of a model folder, its graphs in ONNX Runtime's own format and the list of their operators,
    for phones and reduced builds. Needs no extra.

    checkpoint: of a model folder, to fine-tune it with `tfm train --init`. From fp32 where it has
    that, else from the 8-bit weights.

    \b
        tfm convert checkpoint my-marian --to transformers
        tfm convert checkpoint my-ct2 --to ctranslate2 --quantization int8
        tfm convert my-model checkpoint --to checkpoint
        tfm convert zh-en my-phone-model --to ort
    """
    if quantization and to != "ctranslate2":
        raise click.UsageError("--quantization is for --to ctranslate2")
    kinds = [FolderKind.MODEL_FOLDER] if to == "ort" else list(_READABLE)
    if problem := wrong_kind(source, *kinds):
        raise click.ClickException(problem)
    if folder.exists():
        raise click.ClickException(f"{folder} exists: choose a new folder")
    if to == "ort":
        from tfm.runtime.ort_format import write_ort_folder

        with new_folder(folder) as partial:
            write_ort_folder(source, partial)
    else:
        _convert(source, folder, to, quantization)
    click.echo(f"wrote {folder}", err=True)


def _convert(source: Path, folder: Path, to: str, quantization: str | None) -> None:
    from tfm.export.formats.read_model_folder import load_model

    if to == "ctranslate2":
        import ctranslate2  # noqa: F401 (reports a missing extra before the model is read)
    model, vocabulary = load_model(source)
    with new_folder(folder) as partial:
        _write(model, vocabulary, partial, source, to, quantization)


def _write(
    model: "Transformer",
    vocabulary: "Vocabulary",
    folder: Path,
    source: Path,
    to: str,
    quantization: str | None,
) -> None:
    if to == "ctranslate2":
        from tfm.export.formats.ctranslate2 import write_ctranslate2

        write_ctranslate2(model, folder, vocabulary, quantization, longest=1030)
    elif to == "transformers":
        from tfm.export.formats.transformers import write_transformers

        write_transformers(model, folder, vocabulary, source)
    else:
        from tfm.trainer.checkpoint import write_checkpoint

        write_checkpoint(folder, model, vocabulary)
