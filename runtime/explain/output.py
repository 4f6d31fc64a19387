"""An explanation as a file: the ending of its name says which kind."""

import json
from collections.abc import Callable
from pathlib import Path

from tfm.runtime.files.atomic import replace_file, write_text

from .facts import Explanation
from .page import page


def write_explanation(explanation: Explanation, path: Path) -> None:
    """Write a file that holds the old content or the new one, never a part.

    Raises:
        ValueError: the ending of its name is none of `FORMATS`
        ModuleNotFoundError: matplotlib is missing, which a picture needs
    """
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path}: its name must end in {' or '.join(FORMATS)}")
    FORMATS[path.suffix.lower()](explanation, path)


def _write_page(explanation: Explanation, path: Path) -> None:
    write_text(path, page(explanation))


def _write_picture(explanation: Explanation, path: Path) -> None:
    from .picture import draw  # matplotlib, which only pictures need

    with replace_file(path) as partial:
        draw(explanation, partial)


def _write_json(explanation: Explanation, path: Path) -> None:
    write_text(path, json.dumps(explanation.to_json(), ensure_ascii=False) + "\n")


FORMATS: dict[str, Callable[[Explanation, Path], None]] = {
    ".html": _write_page,
    ".png": _write_picture,
    ".json": _write_json,
}
