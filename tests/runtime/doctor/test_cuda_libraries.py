"""Which libraries of CUDA are missing, seen in a library that names them."""

from pathlib import Path

from tfm.runtime.device import CUDA_PROVIDER
from tfm.runtime.doctor import cuda_libraries
from tfm.runtime.doctor.finding import Level

NAMES = b"\0libc.so.6\0libcublas_none.so.12\0libcudnn_none.so.9\0says libcufft.so.11\0"


def provider(folder: Path) -> Path:
    path = folder / "capi" / "libonnxruntime_providers_cuda.so"
    path.parent.mkdir()
    path.write_bytes(NAMES)
    return path


def test_libraries_that_the_loader_does_not_find(tmp_path: Path) -> None:
    missing = cuda_libraries.missing_libraries(provider(tmp_path))
    assert missing == ["libcublas_none.so.12", "libcudnn_none.so.9"]


def test_findings(tmp_path: Path) -> None:
    provider(tmp_path)
    imported = {"folder": str(tmp_path), "providers": [CUDA_PROVIDER]}
    first, *_ = cuda_libraries.cuda_findings(imported)
    assert first.level is Level.WARNING
    assert first.message == "not found: libcublas_none.so.12, libcudnn_none.so.9"
    (overwritten,) = cuda_libraries.cuda_findings({**imported, "providers": ["CPU"]})
    assert f"onnxruntime has no {CUDA_PROVIDER}" in overwritten.message
    assert list(cuda_libraries.cuda_findings(None)) == []
