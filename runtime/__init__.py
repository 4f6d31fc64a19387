"""The runtime: translate with a model folder, ONNX Runtime and no PyTorch (`tfm run`).

Names are loaded on first use, so that `tfm --help` starts without numpy and onnxruntime.
"""

from importlib import import_module

from .errors import CancelledError, ModelError, TfmError, TranslationError

TYPE_CHECKING = False  # as in typing, whose import takes long enough for a Ctrl-C
if TYPE_CHECKING:
    from .alignment import Alignment
    from .async_translator import AsyncTranslator
    from .options import DecodingOptions
    from .pair_scorer import Score
    from .placeholders import PlaceholderPatterns
    from .reranking import Reranker
    from .terms import Terms
    from .translation import Alternative, Hypothesis, Translation
    from .translator import Translator

    __version__: str

__all__ = [
    "Alignment",
    "Alternative",
    "AsyncTranslator",
    "CancelledError",
    "DecodingOptions",
    "Hypothesis",
    "ModelError",
    "PlaceholderPatterns",
    "Reranker",
    "Score",
    "Terms",
    "TfmError",
    "Translation",
    "TranslationError",
    "Translator",
    "__version__",
]

_MODULES = {
    "Alignment": ".alignment",
    "Alternative": ".translation",
    "AsyncTranslator": ".async_translator",
    "DecodingOptions": ".options",
    "Hypothesis": ".translation",
    "PlaceholderPatterns": ".placeholders",
    "Reranker": ".reranking",
    "Score": ".pair_scorer",
    "Terms": ".terms",
    "Translation": ".translation",
    "Translator": ".translator",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("tfm")
    if name in _MODULES:
        return getattr(import_module(_MODULES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
