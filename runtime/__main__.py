"""`python -m tfm.runtime` is `tfm`."""

from tfm.runtime.commands.cli import cli

cli(prog_name="tfm")
