"""`tfm explain`: what the model does with one sentence, as a page or a picture."""

import os
from pathlib import Path
from typing import Any

import click

from tfm.runtime.files.display import printable

from .interrupts import sigterm_raises
from .model_options import model_options
from .options import Utf8Text, decoding_options, usage_errors
from .output_paths import check_output

FORMATS = (".html", ".png", ".json")


def _outputs(
    _context: click.Context, _parameter: click.Parameter, paths: tuple[Path, ...]
) -> tuple[Path, ...]:
    for path in paths:
        if path.suffix.lower() not in FORMATS:
            raise click.BadParameter(f"{path}: the name must end in {', '.join(FORMATS)}")
    return paths


@click.command()
@click.argument("sentence", type=Utf8Text())
@click.argument("target", type=Utf8Text(), required=False)
@click.option(
    "-o",
    "--output",
    "outputs",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    multiple=True,
    callback=_outputs,
    help="Write here: .html is a page to explore, .png a picture, .json the numbers. May be given"
    " several times.",
)
@model_options
@decoding_options
def explain(
    sentence: str,
    target: str | None,
    outputs: tuple[Path, ...],
    model: Path | None,
    decoding: dict[str, Any],
    source_language: str | None,
    target_language: str | None,
    device: str,
    variant: str | None,
    threads: int,
) -> None:
    """Show what the model does with SENTENCE: what each token looks at, how sure the model was, the
    beam search as a tree.

    With TARGET that translation is explained, not the model's own. The page is one file, and loads
    nothing from the network. Pictures need matplotlib: pip install 'tfm[explain]'.

    \b
        tfm explain '我想喝一杯茶。' -o page.html
        tfm explain '我爱你。' 'I love you.' -o page.html -o page.png
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in `tfm run`
    outputs = tuple(path.resolve() if path.is_symlink() else path for path in outputs)
    for path in outputs:
        check_output(path, [])
    if any(path.suffix.lower() == ".png" for path in outputs):
        import matplotlib  # noqa: F401  # missing, it is an error before all the work
    from tfm.runtime.explain import explain, write_explanation
    from tfm.runtime.translator import Translator

    translator = Translator(model, device=device, variant=variant, intra_threads=threads)
    with sigterm_raises():
        with usage_errors():
            explanation = explain(
                translator,
                sentence,
                target,
                source_language=source_language,
                target_language=target_language,
                **decoding,
            )
        for path in outputs:
            write_explanation(explanation, path)
            click.echo(printable(f"wrote {path}: {explanation.target}"), err=True)
