"""One service with the bundled models for all tests of this folder."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.needs import needs_module
from helpers.service import RunningService, running_service

from tfm.runtime.bundled import bundled_model


@pytest.fixture(scope="session")
def service() -> Iterator[RunningService]:
    """Without limits and keys."""
    for module in ("starlette", "uvicorn", "prometheus_client", "python_multipart"):
        needs_module(module)
    with running_service("--threads", "1") as running:
        yield running
    assert not [line for line in running.lines if "Traceback" in line or "Exception" in line]


@pytest.fixture(scope="session")
def limited() -> Iterator[RunningService]:
    """With small limits, and the key "right"."""
    for module in ("starlette", "uvicorn", "prometheus_client", "python_multipart"):
        needs_module(module)
    arguments = ("--char-limit", "40", "--batch-limit", "3", "--req-limit", "1000", "-m", "zh-en")
    with running_service(*arguments, "--threads", "1", TFM_API_KEYS="right other") as running:
        yield running


@pytest.fixture
def damaged_folder(tmp_path: Path) -> str:
    """A model folder whose weights are damaged."""
    folder = Path(shutil.copytree(bundled_model(), tmp_path / "damaged"))
    for weights in folder.glob("*/weights.bin"):
        data = bytearray(weights.read_bytes())
        data[100] ^= 255
        weights.write_bytes(data)
    return str(folder)
