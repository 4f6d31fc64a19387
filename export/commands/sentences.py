"""The text files that `tfm export` reads."""

from pathlib import Path

import click

from tfm.runtime.files.text import read_lines


def read_sentences(path: Path, limit: int) -> tuple[list[str], list[str] | None]:
    """Sentences to calibrate and to verify on, evenly spread over the file.

    Args:
        path: UTF-8 text, plain, .xz, .gz or .zst; one sentence a line, or source<TAB>target
        limit: how many sentences to return at most

    Returns:
        sources, and their translations, or None if a line has no translation

    Raises:
        click.ClickException, TfmError: the file is missing, empty or not UTF-8
    """
    lines = _read_lines(path)
    count = min(limit, len(lines))
    rows = [lines[i * len(lines) // count][1].split("\t") for i in range(count)]
    sources = [row[0] for row in rows]
    return sources, [row[1] for row in rows] if all(len(row) > 1 for row in rows) else None


def read_pairs(path: Path) -> tuple[list[str], list[str]]:
    """All sources and references of a file with lines of source<TAB>target.

    Raises:
        click.ClickException, TfmError: the file is missing, empty or not UTF-8, or a line has no
            translation
    """
    rows = []
    for number, line in _read_lines(path):
        rows.append(line.split("\t"))
        if len(rows[-1]) < 2:
            raise click.ClickException(
                f"{path}, line {number} has no translation: lines are source<TAB>target"
            )
    return [row[0] for row in rows], [row[1] for row in rows]


def _read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a file that are not blank, with their numbers from 1."""
    if not path.exists():
        raise click.ClickException(
            f"{path}: not found; name sentences to verify on with --sentences"
        )
    lines = [(n, line) for n, line in enumerate(read_lines(path), start=1) if line.strip()]
    if not lines:
        raise click.ClickException(f"{path}: holds no sentence to verify on")
    return lines
