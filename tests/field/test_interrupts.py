"""Ctrl-C and SIGTERM at any moment: exit status 130 and 143, no traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")

# Says when tfm's own code has begun: before that, Python answers to signals.
PROGRAM = """
import os
from tfm.runtime.commands import interrupts, program
handle = interrupts.exit_at_once
def begin():
    handle()
    os.write(1, b"begun")
    interrupts.exit_at_once = handle
interrupts.exit_at_once = begin
program.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [0.0, 0.03, 0.07, 0.12, 0.2, 0.3, 0.45, 0.7])
def test_a_signal_while_modules_and_the_model_load(number: int, seconds: float) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.read(5) == b"begun"
    time.sleep(seconds)
    process.send_signal(number)
    try:
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, stderr) == (128 + number, b"")


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    code = (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from tfm.runtime.commands import interrupts\n"
        "interrupts.exit_at_once()\n"
        "interrupts.raise_exceptions()\n"
        "signal.raise_signal(signal.SIGINT)\n"
        "try: signal.raise_signal(signal.SIGTERM)\n"
        "except interrupts.Terminated: print('terminated')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"terminated", b"")


def test_sigterm_leaves_no_half_made_folder(tmp_path: Path) -> None:
    code = (
        "import signal, sys\n"
        "from pathlib import Path\n"
        "from tfm.runtime.commands import program\n"
        "from tfm.runtime.commands.cli import cli\n"
        "from tfm.runtime.files.atomic import new_folder\n"
        "@cli.command()\n"
        "def make():\n"
        "    with new_folder(Path(sys.argv[2])) as folder:\n"
        "        print(folder.name, flush=True)\n"
        "        signal.raise_signal(signal.SIGTERM)\n"
        "sys.argv = ['tfm', 'make', sys.argv[1]]\n"
        "cli.commands['make'].params = []\n"
        "cli.commands['make'].allow_extra_args = True\n"
        "program.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model")], capture_output=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, b"model.partial\n", b"")
    assert os.listdir(tmp_path) == []
