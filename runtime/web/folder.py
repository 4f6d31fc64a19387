"""The static folder of `tfm web`: the page, the engine and the models, for any host that serves
files."""

import gzip
import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from tfm.runtime.errors import ModelError
from tfm.runtime.files.atomic import new_folder
from tfm.runtime.ort_format import write_ort_folder

from .delta import make_delta
from .onnxruntime_web import copy_onnxruntime_web
from .vocabulary import check_vocabulary

MANIFEST = "models.json"
RUNTIME_FOLDER = "onnxruntime-web"
_SERVICE_WORKER = "sw.js"
_LISTED = 'const SHELL = { version: "development", files: [] };'
_ENGINE = 'data-engine="server"'


@dataclass(frozen=True, slots=True)
class WebModel:
    """A model as the folder has it.

    Attributes:
        source, target: languages
        name: of the model
        download: bytes that a browser fetches for it, once
    """

    source: str
    target: str
    name: str
    download: int


def write_web_folder(
    folder: Path,
    models: Sequence[Path],
    *,
    onnxruntime_web: Path | None = None,
    variant: str | None = None,
) -> list[WebModel]:
    """Write a folder that translates in the browser.

    Args:
        folder: there is none yet
        models: model folders, one for each pair of languages
        onnxruntime_web: the folder dist of that npm package; None lets npm fetch it
        variant: of the models; None is the best for a CPU

    Raises:
        TfmError: a model or the folder cannot be used, or onnxruntime-web is not to be had
    """
    with new_folder(folder) as partial:
        runtime = partial / RUNTIME_FOLDER
        runtime.mkdir()
        runtime_version = copy_onnxruntime_web(runtime, onnxruntime_web)
        listed: list[dict[str, Any]] = []
        for model in models:
            entry = _write_model(model, partial, variant)
            pair = entry["source"], entry["target"]
            if pair in [(other["source"], other["target"]) for other in listed]:
                raise ModelError(
                    f"{model} translates from {pair[0]} to {pair[1]}, as another model does: name"
                    " one for each pair of languages"
                )
            listed.append(entry)
        wasm = "ort-wasm-simd-threaded.wasm"
        packed = _pack((runtime / wasm).read_bytes(), partial, f"{RUNTIME_FOLDER}/{wasm}.gz")
        (runtime / wasm).unlink()
        manifest = {
            "version": version("tfm"),
            "engine": "browser",
            "models": listed,
            "onnxruntime_web": {
                "version": runtime_version,
                "path": f"{RUNTIME_FOLDER}/",
                "files": {wasm: packed},
            },
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        (partial / MANIFEST).write_text(text + "\n", encoding="utf-8")
        _write_assets(partial)
    return [
        WebModel(
            entry["source"],
            entry["target"],
            entry["name"],
            packed["bytes"] + sum(file["bytes"] for file in entry["files"].values()),
        )
        for entry in listed
    ]


def asset_names() -> list[str]:
    """The files of the page."""
    return sorted(path.name for path in files(__package__).joinpath("assets").iterdir())


def _write_model(model: Path, folder: Path, variant: str | None) -> dict[str, Any]:
    """Write a model's files, packed, and return its entry in models.json."""
    with tempfile.TemporaryDirectory(prefix="tfm-", ignore_cleanup_errors=True) as temporary:
        unpacked = Path(temporary)
        facts = write_ort_folder(model, unpacked, variant=variant)
        names = facts["files"]
        for side in ("source", "target"):
            check_vocabulary(unpacked / names[side], model)
        place = f"models/{facts['source']}-{facts['target']}"
        (folder / place).mkdir(parents=True, exist_ok=True)
        translate = (unpacked / names["translate"]).read_bytes()
        entries = {}
        for name in sorted({name for name in names.values() if name}):
            content = (unpacked / name).read_bytes()
            if name == names["score"]:
                delta = make_delta(translate, content)
                entries[name] = _pack(content, folder, f"{place}/{name}.delta.gz", delta)
                entries[name]["base"] = names["translate"]
            else:
                entries[name] = _pack(content, folder, f"{place}/{name}.gz")
    shared = {key: facts[key] for key in ("source", "target", "name", "variant")}
    return {**shared, "facts": facts, "files": entries}


def _pack(content: bytes, folder: Path, path: str, packed: bytes | None = None) -> dict[str, Any]:
    """Write a file as gzip, and return its entry; assets/files.js says what that has.

    Args:
        packed: what to write in the place of `content`
    """
    data = gzip.compress(content if packed is None else packed, 9, mtime=0)
    (folder / path).write_bytes(data)
    digest = hashlib.sha256(content).hexdigest()
    return {"path": path, "bytes": len(data), "size": len(content), "sha256": digest}


def _write_assets(folder: Path) -> None:
    """Write the page, and into its service worker what the page consists of."""
    assets = files(__package__).joinpath("assets")
    for name in asset_names():
        (folder / name).write_bytes(assets.joinpath(name).read_bytes())
    index = (folder / "index.html").read_text("utf-8")
    (folder / "index.html").write_text(
        index.replace(_ENGINE, _ENGINE.replace("server", "browser")), encoding="utf-8"
    )
    shell = [name for name in asset_names() if name != _SERVICE_WORKER]
    shell += [
        MANIFEST,
        *(f"{RUNTIME_FOLDER}/{p.name}" for p in (folder / RUNTIME_FOLDER).glob("*.mjs")),
    ]
    digest = hashlib.sha256(b"".join((folder / name).read_bytes() for name in sorted(shell)))
    content = {"version": digest.hexdigest()[:16], "files": ["./", *sorted(shell)]}
    worker = (folder / _SERVICE_WORKER).read_text("utf-8")
    (folder / _SERVICE_WORKER).write_text(
        worker.replace(_LISTED, f"const SHELL = {json.dumps(content)};"), encoding="utf-8"
    )
