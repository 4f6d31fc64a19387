"""Run `tfm evaluate` and read what it prints."""

import lzma
from pathlib import Path

from click.testing import CliRunner

from tfm.runtime.commands.cli import cli


def run_evaluate(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["evaluate", *map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def table_of(stdout: str) -> list[list[str]]:
    """The cells of the first table."""
    lines = stdout.split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def comparison_of(stdout: str) -> list[list[str]]:
    rows = [line.split("|") for line in stdout.splitlines() if line.startswith("| ")]
    return [row for row in rows if row[1] in (" BLEU ", " chrF2 ")]


def write_aligned(folder: Path, columns: list[list[str]], suffix: str) -> tuple[Path, Path]:
    """Sources and references as two files."""
    paths = folder / f"test.zh{suffix}", folder / f"test.en{suffix}"
    for path, column in zip(paths, columns, strict=False):
        data = "".join(f"{line}\n" for line in column).encode()
        path.write_bytes(lzma.compress(data) if suffix else data)
    return paths
