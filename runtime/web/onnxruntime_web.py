"""The files of onnxruntime-web that the static folder needs: from a folder, or by way of npm."""

import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tfm.runtime.errors import TfmError

VERSION = "1.30.0"  # what is fetched where no folder is named; older ones than 1.24 cannot be used
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_PATIENCE = 900  # seconds


def copy_onnxruntime_web(output: Path, folder: Path | None) -> str:
    """Copy the files into a folder.

    Args:
        output: the folder, which exists
        folder: an npm package of onnxruntime-web, or its folder dist; None lets npm fetch VERSION

    Returns:
        the version, or "unknown"

    Raises:
        TfmError: they are not there, or npm cannot fetch them
    """
    if folder is not None:
        return _copy(folder, output)
    npm = shutil.which("npm")
    if npm is None:
        raise TfmError(
            "tfm web needs files of onnxruntime-web: install npm, which fetches them, or name the"
            " package's folder dist with --onnxruntime-web"
        )
    with tempfile.TemporaryDirectory(prefix="tfm-", ignore_cleanup_errors=True) as temporary:
        return _copy(_fetch(npm, Path(temporary)), output)


def _copy(folder: Path, output: Path) -> str:
    dist = folder / "dist" if (folder / "dist").is_dir() else folder
    for name in FILES:
        if not (dist / name).is_file():
            raise TfmError(
                f"{dist} has no {name}: --onnxruntime-web takes the folder dist of the npm package"
                f" onnxruntime-web, such as version {VERSION}"
            )
        shutil.copyfile(dist / name, output / name)
    try:
        package = json.loads((dist.parent / "package.json").read_text("utf-8"))
        return str(package["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown"


def _fetch(npm: str, folder: Path) -> Path:
    """Unpack the package below a folder, by npm, which knows where its registry is."""
    command = [npm, "pack", f"onnxruntime-web@{VERSION}", "--silent", "--ignore-scripts"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired as error:
        raise TfmError(f"npm did not fetch onnxruntime-web in {_PATIENCE} seconds") from error
    archives = list(folder.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[0].strip()[:200] if lines else f"exit status {done.returncode}"
        raise TfmError(
            f"npm cannot fetch onnxruntime-web {VERSION} ({reason}): name the package's folder dist"
            " with --onnxruntime-web"
        )
    with tarfile.open(archives[0]) as archive:
        wanted = [
            member
            for member in archive
            if member.isfile()
            and member.name in {"package/package.json", *(f"package/dist/{n}" for n in FILES)}
        ]
        archive.extractall(folder, wanted, filter="data")
    return folder / "package" / "dist"
