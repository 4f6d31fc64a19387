"""The error that the benchmark raises."""

from tfm.runtime import TfmError


class BenchError(TfmError):
    """What is wrong, the value, and what to do, in one line."""
