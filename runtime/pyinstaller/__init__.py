"""What PyInstaller needs to know of tfm: it finds this through the entry point "pyinstaller40"."""

from pathlib import Path


def hook_folders() -> list[str]:
    """Where hook-tfm.py lies."""
    return [str(Path(__file__).parent / "hooks")]
