"""The package `tfm` itself: what holds for all of its packages, tfm.runtime, tfm.trainer, ..."""

import os

TYPE_CHECKING = False  # as in typing, whose import takes long enough for a Ctrl-C
if TYPE_CHECKING:
    __version__: str

# onnxruntime's telemetry writes files to the home folder and asks the network for Microsoft's
# collector. It reads this when it is imported, so it has to be said before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("tfm")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
