"""What all commands of `tfm` share: finding those of other packages, and how errors end."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points, requires
from typing import Any, NoReturn

import click

from tfm.runtime.errors import TfmError
from tfm.runtime.files.display import printable

from .interrupts import Terminated
from .streams import STDIN, STDOUT, discard_stdout, log_on_stderr


class CommandGroup(click.Group):
    """A group that finds more commands under the entry point group "tfm.commands".

    Errors meant for the user end as one line: TfmError with exit status 1, a missing extra
    with the pip command that brings it. Ctrl-C ends with 130, SIGTERM with 143, without a word.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_plugins()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is not None or cmd_name not in _plugins():
            return command
        try:
            plugin = _plugins()[cmd_name].load()
        except ModuleNotFoundError as error:
            return _broken_command(cmd_name, error)
        if not isinstance(plugin, click.Command):
            raise TypeError(f"entry point {cmd_name} is {plugin!r}: expected a click command")
        return plugin

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _errors_as_lines(None):  # of --help, which is printed here
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with log_on_stderr(), _errors_as_lines(ctx):
            return super().invoke(ctx)


@contextlib.contextmanager
def _errors_as_lines(ctx: click.Context | None) -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        message = error.format_message()
        shown = "\n".join(map(printable, message.split("\n")))
        if shown == message:
            raise
        if isinstance(error, click.UsageError):
            raise click.UsageError(shown, error.ctx) from error
        raise click.ClickException(shown) from error
    except TfmError as error:
        raise click.ClickException(printable(str(error))) from error
    except ModuleNotFoundError as error:
        command = (ctx and ctx.invoked_subcommand) or ""
        extra = _extra_with(error.name or "", command)
        if extra is None:
            raise
        raise click.ClickException(
            f"tfm {command} needs {error.name}: pip install 'tfm[{extra}]'"
            " (in the checkout with -c constraints.txt)"
        ) from error
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader has seen enough: click ends quietly
            raise
        raise click.ClickException(printable(_what_failed(error))) from error
    except Terminated:
        raise click.exceptions.Exit(143) from None
    except KeyboardInterrupt:
        raise click.exceptions.Exit(130) from None


def _what_failed(error: OSError) -> str:
    """The file and what is wrong with it."""
    name = error.filename
    if name is None:
        return str(error)
    if name == STDOUT:
        discard_stdout()
    if error.errno == errno.EBADF and name in (STDIN, STDOUT):
        return f"{name} is closed"
    path = os.fsdecode(name) if isinstance(name, bytes) else name
    target = "" if error.filename2 is None else f" to {error.filename2}"
    return f"{path}{target}: {error.strerror or error}"


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="tfm.commands")}


def _broken_command(name: str, error: ModuleNotFoundError) -> click.Command:
    """Stands in `tfm --help` for a command that cannot load, and fails when it is called."""

    def fail(_args: tuple[str, ...]) -> NoReturn:
        raise error

    return click.Command(
        name,
        callback=fail,
        params=[click.Argument(["_args"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True},
        add_help_option=False,
        help=f"(not installed: needs {error.name})",
    )


def _extra_with(module: str, command: str) -> str | None:
    """The extra of tfm that installs a module, the command's namesake where several do."""
    package = re.escape(module.split(".")[0]).replace("_", "[-_]") + "(?:-py)?"
    extras = [
        match[1]
        for line in requires("tfm") or []
        if (match := re.match(rf"{package}\b(?!-).*extra == ['\"](\w+)['\"]", line))
    ]
    return command if command in extras else next(iter(extras), None)
