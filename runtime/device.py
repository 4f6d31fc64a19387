"""Which variant of a model to run, on which device, and why."""

import contextlib
import functools
import importlib
import io
import logging
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from types import ModuleType

from .errors import ModelError

DEVICES = ("auto", "cpu", "cuda")
CUDA_PROVIDER = "CUDAExecutionProvider"
_PREFERRED = {"cpu": ("int8", "int4", "fp32"), "cuda": ("fp16", "fp32")}
_REASONS = {
    "cpu": "int8 is the smallest and fastest on a CPU",
    "cuda": "fp16 is the fastest on CUDA, which has no fast int8",
}
_REFUSED = {
    ("cuda", "int8"): "CUDA has no kernels for its integer products, so the CPU would compute them",
    ("cpu", "fp16"): "a CPU has no kernels for it, every number would be converted back and forth",
}


_preloading = threading.Lock()  # two threads would not give stdout back
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Choice:
    """A device ("cpu" or "cuda"), a variant that the model has, and why these."""

    device: str
    variant: str
    reason: str


def load_onnxruntime() -> ModuleType:
    """The module onnxruntime, imported late: it is optional, since its CPU and GPU wheels conflict.

    Raises:
        ModelError: it is not installed
    """
    try:
        return importlib.import_module("onnxruntime")
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise ModelError(
            "onnxruntime is not installed: pip install 'tfm[cpu]' (or 'tfm[gpu]'),"
            " in the checkout with -c constraints.txt"
        ) from error


def preload_cuda() -> None:
    """Load CUDA and cuDNN from the nvidia packages that pip installed, once: the system's loader
    does not look there. onnxruntime prints what it misses, which is the caller's stdout."""
    with _preloading:
        _preload_cuda()


@functools.cache
def _preload_cuda() -> None:
    preload = getattr(load_onnxruntime(), "preload_dlls", None)
    if preload is None:
        return
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        preload()
    for line in filter(None, map(str.strip, printed.getvalue().splitlines())):
        logger.debug("onnxruntime: %s", line)


def choose(
    variants: Iterable[str],
    providers: Collection[str],
    *,
    device: str = "auto",
    variant: str | None = None,
) -> Choice:
    """Pick a device and a variant.

    Args:
        variants: names of the variants that the model has
        providers: onnxruntime.get_available_providers()
        device: "auto" (CUDA where onnxruntime has it and the model a variant for it), or fixed
        variant: a name instead of the device's own preference

    Raises:
        ValueError: device is unknown
        ModelError: the device is not there, the model has no such variant, or the two do not
            suit each other
    """
    if device not in DEVICES:
        raise ValueError(f"device is {device!r}: expected one of {', '.join(DEVICES)}")
    names = sorted(variants)
    if variant is not None and variant not in names:
        raise ModelError(f"no variant {variant!r}: this model has {', '.join(names)}")
    if device == "cuda" and CUDA_PROVIDER not in providers:
        raise ModelError(
            "device 'cuda' needs onnxruntime-gpu: pip uninstall onnxruntime,"
            " then pip install 'tfm[gpu]' (in the checkout with -c constraints.txt)"
        )

    wanted = names if variant is None else [variant]
    if device == "auto":
        on_cuda = any(name in wanted for name in _PREFERRED["cuda"])
        device = "cuda" if CUDA_PROVIDER in providers and on_cuda else "cpu"
    if variant is not None:
        if (device, variant) in _REFUSED:
            raise ModelError(
                f"{variant} does not run well on {device}: {_REFUSED[device, variant]};"
                f" choose one of {', '.join(_PREFERRED[device])}"
            )
        return Choice(device, variant, "asked for")
    for name in _PREFERRED[device]:
        if name in wanted:
            first = name == _PREFERRED[device][0]
            reason = _REASONS[device] if first else f"there is no {_PREFERRED[device][0]}"
            return Choice(device, name, reason)
    raise ModelError(
        f"no variant for device {device!r}: this model has {', '.join(names)},"
        " `tfm export --variant fp32` makes one that runs everywhere"
    )
