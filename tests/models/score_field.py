"""Names, items to copy and everyday phrases: what a model gets right. See README.md beside.

python tests/models/score_field.py models/zh-en models/en-zh --dev dev.tsv
"""

import importlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from helpers.field_scores import (
    FieldScores,
    FieldSystem,
    read_dev,
    score_changed_input,
    score_system,
    tables,
)
from helpers.paths import ROOT

from tfm.runtime import TfmError, Translator

BUNDLED = (ROOT / "models" / "zh-en", ROOT / "models" / "en-zh")


def open_system(folder: Path, variant: str, beam_size: int, threads: int) -> FieldSystem:
    """A model folder as a system to score.

    Raises:
        TfmError: the folder cannot be used
        ValueError: it does not translate between Chinese and English
    """
    translator = Translator(folder, device="cpu", variant=variant, intra_threads=threads)
    languages = translator.config.languages
    if {languages.source, languages.target} != {"zh", "en"}:
        raise ValueError(
            f"{folder}: translates {languages.source or '?'} to {languages.target or '?'}, and"
            " these sentences are Chinese (zh) and English (en)"
        )

    def translate(sentences: list[str]) -> list[str]:
        translations = translator.translate_batch(sentences, beam_size=beam_size)
        return [translation.text for translation in translations]

    return FieldSystem(
        folder.resolve().name, languages.source or "", languages.target or "", translate
    )


def changes(source: str) -> tuple[str, Callable[[str], str] | None]:
    """What is changed of sentences in a language, and the function that does it; None without
    opencc."""
    if source == "en":
        return "in capitals", str.upper
    try:
        opencc = importlib.import_module("opencc")
    except ImportError:
        return "in traditional characters", None
    return "in traditional characters", opencc.OpenCC("s2t").convert


def changed_input_line(system: FieldSystem, dev: Path, count: int) -> str:
    """chrF on a development set as it is and changed, in words."""
    what, change = changes(system.source)
    if change is None:
        return f"{system.name}, {what}: not measured, opencc is not installed (pip install opencc)"
    pairs = read_dev(dev, system.source, count)
    plain, changed = score_changed_input(system, pairs, change)
    return (
        f"{system.name}, {len(pairs)} sentences of {dev.name}: chrF {plain:.1f},"
        f" {what} {changed:.1f}"
    )


def write_wrong(path: Path, scores: list[FieldScores]) -> None:
    path.write_text(
        "".join(
            "\t".join((row.system, row.field_set, row.source, row.reference, row.translation))
            + "\n"
            for one in scores
            for row in one.wrong
        ),
        "utf-8",
    )


@click.command()
@click.argument("folders", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--variant", default="int8", show_default=True)
@click.option("--beam-size", type=click.IntRange(1), default=4, show_default=True)
@click.option("--threads", type=click.IntRange(0), default=1, show_default=True)
@click.option(
    "--dev",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Development set (.tsv: Chinese, English): chrF with traditional characters, capitals.",
)
@click.option("--count", type=click.IntRange(1), default=500, show_default=True, help="Of --dev.")
@click.option(
    "--wrong",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write what is wrong: system, set, source, reference, translation.",
)
def command(
    folders: tuple[Path, ...],
    variant: str,
    beam_size: int,
    threads: int,
    dev: Path | None,
    count: int,
    wrong: Path | None,
) -> None:
    """Score MODEL FOLDERS, or without any the bundled models."""
    try:
        systems = [
            open_system(folder, variant, beam_size, threads) for folder in folders or BUNDLED
        ]
        scores = [score_system(system) for system in systems]
        click.echo(tables(scores))
        if dev is not None:
            click.echo()
            for system in systems:
                click.echo(changed_input_line(system, dev, count))
        if wrong is not None:
            write_wrong(wrong, scores)
    except (TfmError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    logging.getLogger("tfm").setLevel(logging.ERROR)  # some sentences are hardly in a language
    command()
