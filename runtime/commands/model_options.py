"""The options that say which model a command uses, for which languages, and on what."""

import click

from .model_argument import ModelPath
from .options import Command

_MODEL = click.option(
    "-m",
    "--model",
    type=ModelPath(),
    envvar="TFM_MODEL",
    show_envvar=True,
    help="Folder written by `tfm export`, or a bundled model: zh-en, en-zh.  [default: zh-en]",
)
_MODELS = click.option(
    "-m",
    "--model",
    "models",
    type=ModelPath(),
    multiple=True,
    envvar="TFM_MODEL",
    show_envvar=True,
    help="Folder written by `tfm export`, or a bundled model. May be given several times."
    "  [default: zh-en and en-zh]",
)
_LANGUAGES = (
    click.option(
        "--source-language",
        help="Language of the text, if the model reads several: see `tfm info`.",
    ),
    click.option(
        "--target-language", help="Language of the translation, if the model writes several."
    ),
)
_DEVICE = (
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where to run; auto is CUDA where it works and the model has a variant for it.",
    ),
    click.option("--variant", help="int8, fp32, ...  [default: the best for the device]"),
)
_THREADS = click.option(
    "--threads",
    type=click.IntRange(0),
    default=0,
    help="Number of CPU threads; each translates other lines.  [default: as many as make it"
    " faster, at most one for each core that other programs leave free]",
)


def model_options(command: Command) -> Command:
    """Give a command the arguments `model`, `source_language`, `target_language`, `device`,
    `variant` and `threads`."""
    return _with(command, _MODEL, *_LANGUAGES, *_DEVICE, _THREADS)


def model_options_without_threads(command: Command) -> Command:
    """The same without `threads`."""
    return _with(command, _MODEL, *_LANGUAGES, *_DEVICE)


def several_models_options(command: Command) -> Command:
    """Give a command that uses several models the arguments `models`, a tuple of folders that is
    empty where none is named, and `device`, `variant` and `threads`."""
    return _with(command, _MODELS, *_DEVICE, _THREADS)


def _with(command: Command, *options: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
