"""The one error of the export stage."""


class ExportError(Exception):
    """What is wrong, the value, and what to do, in one line."""
