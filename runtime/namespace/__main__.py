"""`python -m tfm` is the command `tfm`."""

from tfm.runtime.commands.program import main

main()
