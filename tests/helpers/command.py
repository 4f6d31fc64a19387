"""The command `tfm` in this process, and Python in another."""

import os
import signal
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
    """Run code in a process of its own; after 60 seconds it is killed, with its children."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
