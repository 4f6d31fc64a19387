"""`tfm train`, `tfm experiments` and `tfm import`.

At module level only click is imported: `tfm --help` loads these modules, and torch takes seconds.
"""
