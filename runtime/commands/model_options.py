"""The options that say which model a command uses, for which languages, and on what."""

import click

from .model_argument import ModelPath
from .options import Command

_OPTIONS = (
    click.option(
        "-m",
        "--model",
        type=ModelPath(),
        envvar="TFM_MODEL",
        show_envvar=True,
        help="Folder written by `tfm export`, or a bundled model: zh-en, en-zh.  [default: zh-en]",
    ),
    click.option(
        "--source-language", help="Of the text, where the model reads several: see `tfm info`."
    ),
    click.option("--target-language", help="Of the translation, where the model writes several."),
    click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
    ),
    click.option("--variant", help="int8, fp32, ...  [default: the best for the device]"),
)
_THREADS = click.option(
    "--threads",
    type=click.IntRange(0),
    default=0,
    help="Threads to compute with, on a CPU each with lines of its own.  [default: as many as"
    " pay, at most one for each core that other programs leave free]",
)


def model_options(command: Command) -> Command:
    """Give a command the arguments `model`, `source_language`, `target_language`, `device`,
    `variant` and `threads`."""
    return model_options_without_threads(_THREADS(command))


def model_options_without_threads(command: Command) -> Command:
    """The same without `threads`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
