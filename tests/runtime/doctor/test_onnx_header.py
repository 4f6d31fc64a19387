"""The versions in an ONNX file, against the package onnx."""

from pathlib import Path

import onnx
import pytest

from tfm.runtime import ModelError
from tfm.runtime.doctor import onnx_header


def test_as_onnx_reads_it(tiny_folder: Path) -> None:
    graphs = sorted(tiny_folder.rglob("*.onnx"))
    assert len(graphs) >= 10
    for path in graphs:
        model = onnx.load(path, load_external_data=False)
        found = onnx_header.read(path)
        assert found.ir_version == model.ir_version
        assert found.opsets == {o.domain or "ai.onnx": o.version for o in model.opset_import}


@pytest.mark.parametrize("size", [0, 1, 2, 100, 500])
def test_a_file_that_is_cut_off(tiny_folder: Path, tmp_path: Path, size: int) -> None:
    data = next(iter(sorted(tiny_folder.rglob("*.onnx")))).read_bytes()
    (tmp_path / "graph.onnx").write_bytes(data[:size])
    with pytest.raises(ModelError, match=r"graph.onnx is no ONNX file"):
        onnx_header.read(tmp_path / "graph.onnx")


@pytest.mark.parametrize("data", [b"\xff" * 100, b"nonsense", b"\x42\x01\x0b", b"\x08\x0a"])
def test_a_file_that_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "graph.onnx").write_bytes(data)
    with pytest.raises(ModelError, match="no ONNX file"):
        onnx_header.read(tmp_path / "graph.onnx")
    with pytest.raises(ModelError, match="cannot read"):
        onnx_header.read(tmp_path / "none.onnx")
