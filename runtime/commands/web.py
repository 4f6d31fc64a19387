"""`tfm web`: a static folder that translates in the browser."""

from pathlib import Path

import click

from tfm.runtime.errors import TfmError
from tfm.runtime.files.display import printable

from .model_argument import ModelPath


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "-m",
    "--model",
    "models",
    type=ModelPath(),
    multiple=True,
    envvar="TFM_MODEL",
    show_envvar=True,
    help="Folder written by `tfm export`, or a bundled model; may be given several times, once for"
    " each pair of languages.  [default: zh-en and en-zh]",
)
@click.option("--variant", help="int8, fp32, ...  [default: the best for a CPU]")
@click.option(
    "--onnxruntime-web",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder dist of the npm package onnxruntime-web.  [default: npm fetches it]",
)
def web(
    folder: Path,
    models: tuple[Path, ...],
    variant: str | None,
    onnxruntime_web: Path | None,
) -> None:
    """Write FOLDER, a page that translates in the browser: without a server, and offline after the
    first visit.

    Any host that serves files will do; the page and its engine load nothing from elsewhere. FOLDER
    also has tfm.js, a module with the browsers' Translator interface for pages of your own.

    \b
        tfm web site && python -m http.server --directory site
        tfm web site -m my-model --onnxruntime-web node_modules/onnxruntime-web/dist
    """
    from tfm.runtime.bundled import BUNDLED_MODELS, bundled_model
    from tfm.runtime.web import write_web_folder

    if folder.exists():
        raise TfmError(f"{folder} exists: choose a new folder")
    chosen = models or tuple(bundled_model(name) for name in BUNDLED_MODELS)
    written = write_web_folder(folder, chosen, onnxruntime_web=onnxruntime_web, variant=variant)
    for model in written:
        click.echo(
            printable(
                f"{model.name}: {model.source} to {model.target},"
                f" {model.download / 1e6:.1f} MB to download"
            ),
            err=True,
        )
    click.echo(printable(f"wrote {folder}"), err=True)
