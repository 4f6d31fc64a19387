"""`python -m tfm.runtime` is `tfm`."""

from tfm.runtime.commands.program import main

main()
