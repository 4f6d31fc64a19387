"""The runtime: translate with a model folder, ONNX Runtime and no PyTorch (`tfm run`).

Names are loaded on first use, so that `tfm --help` starts without numpy and onnxruntime.
"""

from importlib import import_module

from .errors import CancelledError, ModelError, TfmError, TranslationError

TYPE_CHECKING = False  # as in typing, whose import takes long enough for a Ctrl-C
if TYPE_CHECKING:
    from .options import DecodingOptions
    from .translation import Hypothesis, Translation
    from .translator import Translator

    __version__: str

__all__ = [
    "CancelledError",
    "DecodingOptions",
    "Hypothesis",
    "ModelError",
    "TfmError",
    "Translation",
    "TranslationError",
    "Translator",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("tfm")
    if name in {"Hypothesis", "Translation"}:
        return getattr(import_module(".translation", __name__), name)
    if name == "Translator":
        return import_module(".translator", __name__).Translator
    if name == "DecodingOptions":
        return import_module(".options", __name__).DecodingOptions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
