"""`python -m tfm` is the command `tfm`."""

from tfm.runtime.commands.cli import cli

cli(prog_name="tfm")
