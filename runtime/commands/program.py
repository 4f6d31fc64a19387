"""The program `tfm`."""

from . import interrupts


def main() -> None:
    """Run the command that the command line names, and exit.

    Nothing is imported before Ctrl-C has been seen to.
    """
    interrupts.exit_at_once()
    from . import streams
    from .cli import cli

    streams.prepare()
    interrupts.raise_exceptions()
    try:
        cli(prog_name="tfm")
    finally:
        interrupts.exit_at_once()
