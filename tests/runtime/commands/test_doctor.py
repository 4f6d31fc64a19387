"""`tfm doctor` on installations that work, and on many that do not."""

import dataclasses
import json
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
import pytest
from helpers.command import python, tfm

from tfm.runtime import Translator
from tfm.runtime.config import FileEntry, ModelConfig
from tfm.runtime.doctor import trial_process
from tfm.runtime.doctor.finding import Finding, Level
from tfm.runtime.doctor.models import model_findings, models_to_check

RUN = "from tfm.runtime.commands.program import main; import sys; sys.argv[1:] = {!r}; main()"


def doctor(path: Path, *arguments: str, **environment: str) -> tuple[int, dict[str, Any]]:
    """Run it in a process that finds packages in this folder first: exit status and report."""
    paths = os.pathsep.join(filter(None, [str(path), os.environ.get("PYTHONPATH", "")]))
    code = RUN.format(["doctor", "--json", *arguments])
    done = python(code, PYTHONPATH=paths, **environment)
    assert done.stderr == ""
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["can_translate"] == (done.returncode == 0)
    return done.returncode, report


def row(report: dict[str, Any], check: str) -> dict[str, Any]:
    (found,) = [f for f in report["findings"] if f["check"] == check]
    assert isinstance(found, dict)
    return found


def package(folder: Path, name: str, code: str) -> None:
    """A package that goes before the installed one, as pip leaves it."""
    module = folder / "onnxruntime"
    module.mkdir(exist_ok=True)
    (module / "__init__.py").write_text(code)
    info = folder / f"{name.replace('-', '_')}-1.30.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.30.0\n")
    (info / "RECORD").write_text("onnxruntime/__init__.py,,\n")


def test_an_installation_that_works(tiny_folder: Path) -> None:
    status, stdout, stderr = tfm("doctor", "-m", str(tiny_folder), "--json")
    assert (status, stderr) == (0, "")
    report = json.loads(stdout)
    model = f"model {tiny_folder}"

    facts = {f["check"]: f["facts"] for f in report["findings"]}
    assert facts["tfm"]["tfm"] == version("tfm")
    assert facts["onnxruntime"]["version"] == version("onnxruntime")
    assert facts["telemetry"]["sockets"] in (0, None)
    graphs = [onnx.load(p, load_external_data=False) for p in tiny_folder.rglob("*.onnx")]
    assert facts[f"{model} needs"]["ir"] == max(graph.ir_version for graph in graphs)
    assert facts[f"{model} graphs"]["opened"] == {"fp32": 6, "int8": 6}
    with Translator(tiny_folder) as translator:
        said = facts[f"{model} sentence"]
        best = translator.translate(said["source"]).hypotheses[0]
        assert (said["text"], said["target_tokens"]) == (best.text, len(best.tokens))
        assert said["source_tokens"] == translator.source_length(said["source"])
        assert facts[f"{model} runs"]["fingerprint"] == translator.fingerprint
    assert not [f for f in report["findings"] if f["level"] == "problem"]


def test_each_finding_is_one_line(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [
        Finding("one", Level.OK, "good"),
        Finding("two", Level.WARNING, "bad\x1b[31m\nname", "do this"),
        Finding("three", Level.PROBLEM, "worse", "do that"),
    ]
    asked: list[tuple[str, ...]] = []
    module = "tfm.runtime.doctor.examination.examine"
    monkeypatch.setattr(module, lambda models: asked.append(models) or iter(findings))
    status, stdout, _ = tfm("doctor", "-m", "a", "-m", "b")
    assert stdout.splitlines() == [
        "ok       one: good",
        "warning  two: bad\\x1b[31m\\nname; to do: do this",
        "problem  three: worse; to do: do that",
        "tfm cannot translate: see the problems.",
    ]
    assert (status, asked) == (1, [("a", "b")])
    del findings[2]
    assert tfm("doctor")[0] == 0


BROKEN = {
    "a library is missing": (
        "raise ImportError('libexample.so.1: cannot open shared object file')",
        "ImportError: libexample.so.1: cannot open shared object file",
        "pip install --force-reinstall --no-deps onnxruntime==1.30.0",
    ),
    "half of it is gone": (
        "__version__ = '1.30.0'",
        "has no attribute",
        "--force-reinstall",
    ),
    "an instruction is missing": (
        "import os, signal; os.kill(os.getpid(), signal.SIGILL)",
        "ended by SIGILL",
        "this processor lacks instructions",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_onnxruntime_that_cannot_be_imported(kind: str, tmp_path: Path) -> None:
    code, message, advice = BROKEN[kind]
    package(tmp_path, "onnxruntime", code)
    status, report = doctor(tmp_path, "-m", "zh-en")
    found = row(report, "onnxruntime")
    assert (status, found["level"]) == (1, "problem")
    assert message in found["message"]
    assert advice in found["advice"]
    # What needs no onnxruntime is told all the same.
    assert row(report, "model zh-en files")["level"] == "ok"
    assert row(report, "model zh-en")["level"] == "problem"
    assert row(report, "threads")["facts"]["threads"] >= 1


HIDE = """
import sys
from importlib.abc import MetaPathFinder
from importlib.metadata import DistributionFinder, MetadataPathFinder

class Hide(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")

sys.meta_path.insert(0, Hide())
find = MetadataPathFinder.find_distributions

def visible(context=DistributionFinder.Context()):
    return (d for d in find(context) if d.metadata["Name"] != "onnxruntime")

MetadataPathFinder.find_distributions = visible
"""


def test_without_onnxruntime(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    status, report = doctor(tmp_path, "-m", "zh-en")
    assert status == 1
    found = row(report, "onnxruntime")
    assert found["message"] == "onnxruntime is not installed"
    assert "pip install 'tfm[cpu]'" in found["advice"]
    assert "cpu" in row(report, "extras")["facts"]["missing"]
    assert "onnxruntime is not installed" in row(report, "model zh-en")["message"]


def test_two_packages_with_the_same_module(tmp_path: Path, tiny_folder: Path) -> None:
    for name in ("onnxruntime", "onnxruntime-gpu"):
        info = tmp_path / f"{name.replace('-', '_')}-1.30.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.30.0\n")
        (info / "RECORD").write_text("onnxruntime/__init__.py,,\n")
    status, report = doctor(tmp_path, "-m", str(tiny_folder))
    assert status == 0  # it works, for now
    found = row(report, "onnxruntime files")
    assert found["level"] == "warning"
    assert "onnxruntime and onnxruntime-gpu are both installed" in found["message"]
    assert found["advice"].startswith("pip uninstall onnxruntime onnxruntime-gpu, then ")
    assert "has no CUDAExecutionProvider" in row(report, "CUDA")["message"]


def test_what_the_user_said_about_telemetry_and_encodings(tmp_path: Path) -> None:
    package(tmp_path, "onnxruntime", "raise ImportError('quick')")
    status, report = doctor(tmp_path, "-m", "none", PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
    assert (status, row(report, "encoding")["level"]) == (1, "warning")
    assert "has no config.json" in row(report, "model none")["message"]


def test_another_process_that_never_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text("import time; time.sleep(100)")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    done = trial_process.run("libraries", timeout=2)
    assert done.error == "no answer in 2 s"
    assert done.last_begun in ("numpy", "starting Python")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    assert "cannot start another process" in trial_process.run("libraries").error


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def levels(model: Path) -> dict[str, tuple[Level, str]]:
    start = f"model {model}"
    return {
        f.check.removeprefix(start).strip(): (f.level, f.message)
        for f in model_findings(str(model))
    }


def test_a_vocabulary_that_is_damaged(copy: Path) -> None:
    (copy / "source.spm").write_bytes((copy / "source.spm").read_bytes()[:-1] + b"?")
    found = levels(copy)
    assert found["files"][0] is Level.WARNING
    assert found[""][0] is Level.PROBLEM
    assert "source.spm is damaged: sha256" in found[""][1]


def test_a_variant_that_is_damaged_and_not_used(copy: Path) -> None:
    (copy / "fp32" / "score.onnx").write_bytes(b"")
    found = levels(copy)
    assert "score.onnx is damaged: 0 bytes" in found["files"][1]
    assert found["fp32"] == (Level.WARNING, f"{copy}/fp32/score.onnx is no ONNX file")
    assert "fp32 5, int8 6" in found["graphs"][1]
    assert found["sentence"][0] is Level.OK


def test_a_graph_that_is_another(copy: Path) -> None:
    """Its size and sha256 are right: only the contract shows it."""
    shutil.copyfile(copy / "int8" / "encoder.onnx", copy / "int8" / "score.onnx")
    config = ModelConfig.load(copy)
    int8 = config.variants["int8"]
    path = getattr(int8.score, "path", "")
    changed = dataclasses.replace(int8, score=FileEntry.of(copy, path))
    dataclasses.replace(config, variants={**config.variants, "int8": changed}).save(copy)
    found = levels(copy)
    assert found["files"][0] is Level.OK
    assert found["int8"][0] is Level.WARNING
    assert "is not the score graph that config.json describes" in found["int8"][1]


def test_folders_that_are_no_models(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("")
    for name, said in (
        ("", "is not JSON"),
        ("none", "has no config.json"),
        ("loop", "cannot read"),
        ("file", "cannot read"),
    ):
        (found,) = model_findings(str(tmp_path / name))
        assert (found.level, said in found.message) == (Level.PROBLEM, True), found


def test_which_models_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TFM_MODEL", raising=False)
    assert models_to_check(()) == ("zh-en", "en-zh")
    monkeypatch.setenv("TFM_MODEL", "mine")
    assert models_to_check(()) == ("mine",)
    assert models_to_check(("other",)) == ("other",)
