"""Requirements, versions, and files that are not those of their package."""

import base64
import hashlib
from importlib.metadata import Distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tfm.runtime.doctor import packages


def install(folder: Path, name: str, version: str, files: dict[str, bytes]) -> Distribution:
    """A distribution as pip leaves it: its files, and a RECORD of them."""
    rows = []
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        rows.append(f"{path},sha256={digest},{len(data)}\n")
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("".join(rows) + f"{info.name}/RECORD,,\n")
    return Distribution.at(info)


def test_requirements_are_those_of_the_metadata() -> None:
    """packaging, which pip uses, reads the same lines."""
    from importlib.metadata import requires

    parsed = [Requirement(line) for line in requires("tfm") or []]
    wanted = {
        (r.name, str(r.specifier).removeprefix(">="), str(r.marker or "").split('"')[-2:][0])
        for r in parsed
        if r.name != "tfm"
    }
    found = packages.requirements()
    assert found is not None
    assert {(r.name, r.least, r.extra) for r in found} == wanted
    assert packages.requirements("no-such-package-of-that-name") is None


@pytest.mark.parametrize(
    ("version", "least"),
    [
        ("1.24.1", "1.24.1"),
        ("1.24", "1.24.1"),
        ("1.24.10", "1.24.9"),
        ("1.9", "1.10"),
        ("2.0", "2"),
        ("2", "2.0.1"),
        ("1.32.0+cu12", "1.32"),
    ],
)
def test_older_versions(version: str, least: str) -> None:
    assert packages.is_older(version, least) == (Version(version) < Version(least))
    assert not packages.is_older("unknown", least)


def test_files_that_another_package_wrote_over(tmp_path: Path) -> None:
    files = {
        "onnxruntime/__init__.py": b"one",
        "onnxruntime/capi/state.so": b"two",
        "onnxruntime/capi/libort.so.1.32.0": b"three",
        "onnxruntime/LICENSE": b"four",
    }
    installed = install(tmp_path, "onnxruntime", "1.32.0", files)
    assert packages.changed_files(installed) == ([], [])
    (tmp_path / "onnxruntime/capi/state.so").write_bytes(b"TWO")  # of the same size
    (tmp_path / "onnxruntime/capi/libort.so.1.32.0").unlink()
    (tmp_path / "onnxruntime/LICENSE").unlink()  # nothing that runs
    assert packages.changed_files(installed) == (["libort.so.1.32.0"], ["state.so"])


@pytest.mark.parametrize("record", [b"\xff\xfe\x00", b'a,"b', b"x.py,sha256,1\n", b"x.py\n"])
def test_a_damaged_list_of_files(tmp_path: Path, record: bytes) -> None:
    installed = install(tmp_path, "onnxruntime", "1.32.0", {})
    next(tmp_path.glob("*.dist-info/RECORD")).write_bytes(record)
    missing, changed = packages.changed_files(installed)
    assert changed == []
    assert set(missing) <= {"x.py"}


def test_the_family_of_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = {"onnxruntime/__init__.py": b""}
    install(tmp_path, "onnxruntime", "9.9", module)
    install(tmp_path, "onnxruntime-gpu", "9.8", module)
    install(tmp_path, "ort-nightly", "9.7", module)
    install(tmp_path, "onnxruntime-extensions", "0.14", {"onnxruntime_extensions/a.py": b""})
    install(tmp_path, "other", "1", module)
    (tmp_path / "broken-1.dist-info").mkdir()
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    names = [d.metadata["Name"] for d in packages.onnxruntimes()]
    assert names == ["onnxruntime", "onnxruntime-gpu", "ort-nightly"]
