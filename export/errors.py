"""The one error of the export stage."""

from tfm.runtime import TfmError


class ExportError(TfmError):
    """What is wrong, the value, and what to do, in one line."""
