"""PyInstaller's hook: what is imported by name or read as data, and so not seen in the code."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules, copy_metadata

hiddenimports = ["onnxruntime", "tfm.models", *collect_submodules("tfm.runtime")]
datas = [
    *collect_data_files("tfm.models"),
    *collect_data_files("tfm.runtime.explain"),
    *copy_metadata("tfm"),
]
