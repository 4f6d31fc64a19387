"""What `tfm web` writes, and what it says where it cannot."""

import gzip
import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from helpers.command import tfm
from helpers.javascript import javascript
from helpers.tiny import write_tiny_multilingual_folder

from tfm.runtime.web.onnxruntime_web import FILES, VERSION


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands for onnxruntime-web where nothing is run."""
    package = tmp_path_factory.mktemp("package")
    (package / "dist").mkdir()
    (package / "package.json").write_text(json.dumps({"version": "9.8.7"}), "utf-8")
    for name in FILES:
        (package / "dist" / name).write_text(f"// {name}", "utf-8")
    return package / "dist"


@pytest.fixture(scope="module")
def site(tiny_folder: Path, dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "site"
    model = ("-m", str(tiny_folder), "--variant", "fp32")
    status, stdout, stderr = tfm("web", str(folder), *model, "--onnxruntime-web", str(dist))
    assert (status, stdout) == (0, ""), stderr
    assert stderr.splitlines()[0].startswith("tiny: source to target, ")
    assert stderr.splitlines()[1:] == [f"wrote {folder}"]
    return folder


def unpacked(site: Path, entry: dict) -> bytes:
    data = (site / entry["path"]).read_bytes()
    assert len(data) == entry["bytes"]
    return gzip.decompress(data)


def test_every_file_is_listed_and_intact(site: Path) -> None:
    manifest = json.loads((site / "models.json").read_text("utf-8"))
    assert manifest["engine"] == "browser"
    (model,) = manifest["models"]
    shown = [model[key] for key in ("source", "target", "name", "variant")]
    assert shown == ["source", "target", "tiny", "fp32"]
    files = {**model["files"], **manifest["onnxruntime_web"]["files"]}
    for entry in files.values():
        content = unpacked(site, entry)
        if "base" in entry:
            base = unpacked(site, files[entry["base"]])
            content = bytes(javascript("delta", base=list(base), delta=list(content)))
        assert (len(content), hashlib.sha256(content).hexdigest()) == (
            entry["size"],
            entry["sha256"],
        )
    assert manifest["onnxruntime_web"]["version"] == "9.8.7"


def test_the_page_is_told_that_it_is_its_own_engine(site: Path) -> None:
    assert 'data-engine="browser"' in (site / "index.html").read_text("utf-8")
    worker = (site / "sw.js").read_text("utf-8")
    shell = json.loads(worker.split("const SHELL = ")[1].split(";\n")[0])
    assert len(shell["version"]) == 16  # a hash of the page: another one tells that it is new
    kept = {"./", "models.json", "onnxruntime-web/ort.wasm.min.mjs", "app.js", "index.html"}
    assert kept <= set(shell["files"])
    assert all((site / name).exists() for name in shell["files"])
    # All but what files.js keeps, and the service worker itself.
    written = {
        path.relative_to(site).as_posix()
        for path in site.rglob("*")
        if path.is_file() and path.suffix != ".gz"
    }
    assert written == set(shell["files"]) - {"./"} | {"sw.js"}


def test_nothing_names_another_host(site: Path) -> None:
    for path in site.glob("*.*"):
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text and "https://" not in text, path


def one_line(*arguments: str) -> str:
    status, stdout, stderr = tfm("web", *arguments)
    assert (status, stdout, stderr.count("\n")) == (1, "", 1), stderr
    return stderr


def test_a_folder_that_exists(tmp_path: Path, dist: Path) -> None:
    (tmp_path / "mine").write_text("stays", "utf-8")
    assert "exists: choose a new folder" in one_line(str(tmp_path), "--onnxruntime-web", str(dist))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_dist_folder_without_the_files(tmp_path: Path, tiny_folder: Path) -> None:
    arguments = ("-m", str(tiny_folder), "--onnxruntime-web", str(tmp_path))
    error = one_line(str(tmp_path / "site"), *arguments)
    assert f"{tmp_path} has no ort.wasm.min.mjs: --onnxruntime-web takes the folder dist" in error
    assert not list(tmp_path.iterdir())


def test_without_npm(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    error = one_line(str(tmp_path / "site"), "-m", str(tiny_folder))
    assert "install npm, which fetches them, or name" in error


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands for npm")
def test_npm_fails(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error no network' >&2\nexit 1\n", "utf-8")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    error = one_line(str(tmp_path / "site"), "-m", str(tiny_folder))
    assert f"npm cannot fetch onnxruntime-web {VERSION} (npm error no network)" in error


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands for npm")
def test_npm_fetches_it(
    tmp_path: Path, dist: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(dist.parent, tmp_path / "package")
    shutil.make_archive(str(tmp_path / "made"), "gztar", tmp_path, "package")
    npm = tmp_path / "npm"
    npm.write_text(
        f"#!/bin/sh\n[ $2 = onnxruntime-web@{VERSION} ] && /bin/cp {tmp_path}/made.tar.gz a.tgz\n"
    )
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    status, _, stderr = tfm(
        "web", str(tmp_path / "site"), "-m", str(tiny_folder), "--variant", "fp32"
    )
    assert status == 0, stderr
    assert (tmp_path / "site" / "onnxruntime-web" / FILES[0]).read_text("utf-8") == f"// {FILES[0]}"


def test_two_models_for_the_same_languages(tmp_path: Path, dist: Path, tiny_folder: Path) -> None:
    models = ("-m", str(tiny_folder)) * 2
    error = one_line(str(tmp_path / "site"), *models, "--onnxruntime-web", str(dist))
    assert "translates from source to target, as another model does" in error
    assert not (tmp_path / "site").exists()


def test_a_model_of_several_languages(tmp_path: Path, dist: Path, tiny_folder: Path) -> None:
    write_tiny_multilingual_folder(tmp_path / "model", tiny_folder)
    arguments = ("-m", str(tmp_path / "model"), "--onnxruntime-web", str(dist))
    assert "has several languages" in one_line(str(tmp_path / "site"), *arguments)


def test_a_vocabulary_that_is_not_segmented_here(
    tmp_path: Path, dist: Path, tiny_folder: Path
) -> None:
    from sentencepiece import sentencepiece_model_pb2

    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    proto = sentencepiece_model_pb2.ModelProto.FromString((folder / "source.spm").read_bytes())
    proto.trainer_spec.model_type = sentencepiece_model_pb2.TrainerSpec.BPE
    content = proto.SerializeToString()
    (folder / "source.spm").write_bytes(content)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["tokenizer"]["source"].update(
        size=len(content), sha256=hashlib.sha256(content).hexdigest()
    )
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    arguments = ("-m", str(folder), "--variant", "fp32", "--onnxruntime-web", str(dist))
    assert "source.spm is not a unigram model" in one_line(str(tmp_path / "site"), *arguments)
