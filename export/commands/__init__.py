"""`tfm export`, `tfm evaluate` and `tfm convert`.

At module level only click is imported: `tfm --help` loads these modules, and torch takes seconds.
"""
