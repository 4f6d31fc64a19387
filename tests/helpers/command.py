"""The command `tfm` in this process, and Python in another."""

import os
import subprocess
import sys

from click.testing import CliRunner

from tfm.runtime.commands.cli import cli


def tfm(*arguments: str, stdin: str | bytes | None = None) -> tuple[int, str, str]:
    """Run the command here; returns exit status, stdout and stderr."""
    result = CliRunner().invoke(cli, arguments, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
