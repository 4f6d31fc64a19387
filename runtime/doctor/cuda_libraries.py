"""Which of the libraries that onnxruntime-gpu needs are not found."""

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfm.runtime.device import CUDA_PROVIDER

from .finding import Finding, ok, warning

DRIVER = "libcuda.so.1"
_NAMES = re.compile(rb"\0(lib(?:cu|nv)[\w-]+\.so\.\d+)(?=\0)")
_ADVICE = (
    "pip install 'onnxruntime-gpu[cuda,cudnn]', or put the folder of CUDA and cuDNN on"
    " LD_LIBRARY_PATH; tfm computes on the CPU until then"
)


def cuda_findings(imported: dict[str, Any] | None) -> Iterator[Finding]:
    """What is there of CUDA, where onnxruntime-gpu is installed.

    Args:
        imported: the report about onnxruntime; None where it could not be imported
    """
    if imported is None:
        return
    if CUDA_PROVIDER not in imported["providers"]:
        yield warning(
            "CUDA",
            f"onnxruntime-gpu is installed, but onnxruntime has no {CUDA_PROVIDER}",
            "pip install --force-reinstall --no-deps onnxruntime-gpu",
        )
        return
    provider = Path(imported["folder"], "capi", "libonnxruntime_providers_cuda.so")
    if not provider.is_file():  # Windows names its libraries otherwise
        yield ok("CUDA", "its libraries are looked at on Linux only")
        return
    missing = missing_libraries(provider)
    if missing:
        yield warning("CUDA", f"not found: {', '.join(missing)}", _ADVICE, missing=missing)
    else:
        yield ok("CUDA", "all libraries of CUDA and cuDNN are found")
    if not _is_found(DRIVER):
        advice = "install the driver (nvidia-smi shows it); tfm computes on the CPU until then"
        yield warning("CUDA driver", f"not found: {DRIVER}", advice)


def missing_libraries(provider: Path) -> list[str]:
    """Libraries of NVIDIA that a shared library names and the loader does not find."""
    names = sorted({name.decode("ascii") for name in _NAMES.findall(provider.read_bytes())})
    return [name for name in names if not _is_found(name)]


def _is_found(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
