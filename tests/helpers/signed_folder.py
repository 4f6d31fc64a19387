"""Model folders that a mistake or a stranger has changed, with hashes that fit again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from tfm.runtime.config import FileEntry


def copy_folder(folder: Path, target: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(folder, target))


def sign(folder: Path) -> None:
    """Let config.json have size and sha256 of every file as it is now."""
    change_config(folder, lambda config: _sign(folder, config))


def change_config(folder: Path, change: Callable[[Any], None]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    change(config)
    path.write_text(json.dumps(config), "utf-8")


def set_config(folder: Path, keys: str, value: Any) -> None:
    """Set one value, such as that of "special_ids.eos_id"."""

    def change(config: Any) -> None:
        *parents, last = keys.split(".")
        for key in parents:
            config = config[key]
        config[last] = value

    change_config(folder, change)


def change_graph(path: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load(path, load_external_data=False)
    change(model)
    path.write_bytes(model.SerializeToString())


def _sign(folder: Path, node: Any) -> None:
    if isinstance(node, dict) and isinstance(node.get("path"), str) and "sha256" in node:
        entry = FileEntry.of(folder, node["path"])
        node |= {"size": entry.size, "sha256": entry.sha256}
    elif isinstance(node, dict):
        for value in node.values():
            _sign(folder, value)
