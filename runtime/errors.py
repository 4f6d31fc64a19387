"""Errors that a user can act on: the command line prints them as one line and exits with 1."""


class TfmError(Exception):
    """Base of what runtime and export raise on purpose; wrong arguments are ValueError instead."""


class TranslationError(TfmError):
    """Translating failed inside onnxruntime: there is too little memory, or a graph is wrong."""


class CancelledError(TranslationError):
    """Another thread cancelled the translation."""


class ModelError(TfmError):
    """A model folder cannot be used: missing, damaged, unknown, or not for this device."""


class UnknownLanguageError(TfmError, ValueError):
    """A sentence asks for a language that the model does not have."""
