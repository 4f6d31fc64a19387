"""`python -m tfm.runtime` is `tfm`."""

from .cli import cli

cli(prog_name="tfm")
