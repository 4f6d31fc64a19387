"""kill -9 at random moments of `tfm run`, `tfm train` and `tfm export`. See README.md beside.

python tests/field/kill.py --kills 50
"""

import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from helpers.capitals import RECIPE, write_corpus
from helpers.numerals import chinese
from helpers.paths import ROOT

SECONDS = 600.0  # that a command may take until its end
COMMANDS = ("run", "train", "export")


@dataclass
class Killer:
    """Starts a command again and again, and kills it at random moments.

    Attributes:
        kills: how many times a process was killed
        faults: what was not as it must be, in words
    """

    rng: random.Random
    longest: float = 0.0  # seconds of a whole run; a kill comes before that
    kills: int = 0
    faults: list[str] = field(default_factory=list)

    def unbroken(self, command: Sequence[str | Path]) -> None:
        """Run to the end, and see how long it takes."""
        began = time.monotonic()
        self._finish(command)
        self.longest = time.monotonic() - began

    def broken(
        self, command: Sequence[str | Path], kills: int, look: Callable[[], None] = lambda: None
    ) -> None:
        """Kill a command until it ends before the kill, or so many times; then let it end.

        Args:
            look: called after every kill; what it finds it adds to faults
        """
        for _ in range(kills):
            process = _start(command)
            try:
                _, errors = process.communicate(timeout=self.rng.uniform(0, self.longest))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                self.kills += 1
                if self.kills % 10 == 0:
                    print(f"{command[0]}: {self.kills} kills", file=sys.stderr)
                look()
                continue
            self._check(process.returncode, errors)
            look()
            return
        self._finish(command)
        look()

    def _finish(self, command: Sequence[str | Path]) -> None:
        process = _start(command)
        _, errors = process.communicate(timeout=SECONDS)
        self._check(process.returncode, errors)

    def _check(self, status: int, errors: str) -> None:
        if status:
            self.faults.append(f"exit status {status}: {errors[-500:]}")


def kill_run(
    work: Path, kills: int, seed: int, model: Path = ROOT / "models" / "zh-en", lines: int = 3000
) -> Killer:
    """`tfm run -o --resume`: in the end the file is that of an unbroken run."""
    killer = Killer(random.Random(seed))
    source = work / "source.txt"
    texts = (chinese(number * 7 % 9999) + "。" for number in range(lines))
    source.write_text("".join(f"{text}\n" for text in texts), "utf-8")
    options = ["--beam-size", "1", "--max-length", "16", "--threads", "1"]
    command = ["run", "-m", model, "-i", source, *options, "-o"]
    killer.unbroken([*command, work / "unbroken.txt"])
    output = work / "broken.txt"
    while killer.kills < kills and not killer.faults:
        killer.broken([*command, output, "--resume"], min(4, kills - killer.kills))
        if output.read_bytes() != (work / "unbroken.txt").read_bytes():
            killer.faults.append("the file differs from that of an unbroken run")
        left = [path.name for path in work.iterdir() if path.name.startswith("broken.txt.")]
        if left:
            killer.faults.append(f"left behind: {left}")
        output.unlink()
    return killer


def kill_train(work: Path, kills: int, seed: int, steps: int = 40) -> Killer:
    """`tfm train --resume`: in the end the losses are those of an unbroken training."""
    from helpers.training import assert_same_training, metrics

    killer = Killer(random.Random(seed))
    write_corpus(work)
    recipe = work / "recipe.toml"
    text = RECIPE.replace("max_steps = 14", f"max_steps = {steps}")
    text = text.replace("validate_steps = 5", "validate_steps = 8")
    recipe.write_text(text, "utf-8")
    command = ["train", recipe, "--threads", "1", "--resume", "--out"]
    killer.unbroken([*command, work / "unbroken"])
    while killer.kills < kills and not killer.faults:
        out = work / f"broken.{killer.kills}"
        killer.broken([*command, out], kills - killer.kills)
        ours, theirs = metrics(out), metrics(work / "unbroken")
        if ours != theirs:
            pairs = itertools.zip_longest(ours, theirs)
            one, other = next((one, other) for one, other in pairs if one != other)
            killer.faults.append(f"other losses, the first {one}, unbroken {other}")
            break
        try:
            assert_same_training(out, work / "unbroken")
        except AssertionError as error:
            killer.faults.append(f"the losses are the same, the weights are not: {error}"[:500])
    return killer


def kill_export(work: Path, kills: int, seed: int) -> Killer:
    """`tfm export`: the folder is not there or whole, and nothing half-written stays."""
    from tfm.runtime.config import ModelConfig
    from tfm.runtime.errors import TfmError

    killer = Killer(random.Random(seed))
    write_corpus(work)
    (work / "recipe.toml").write_text(RECIPE, "utf-8")
    killer.unbroken(["train", work / "recipe.toml", "--out", work / "checkpoint"])
    folder = work / "model"
    command = ["export", work / "checkpoint", folder, "--limit", "5", "--variant", "fp32"]
    killer.unbroken([*command[:2], work / "unbroken", *command[3:]])

    def look() -> None:
        if not folder.exists():
            return
        try:
            config = ModelConfig.load(folder)
            for files in config.variants.values():
                for name in ("encoder", "decoder", "compact", "translate", "weights"):
                    getattr(files, name).verify(folder)
        except TfmError as error:
            killer.faults.append(f"half written: {error}")

    while killer.kills < kills and not killer.faults:
        killer.broken(command, min(10, kills - killer.kills), look)
        known = {"source.txt", "train.tsv", "valid.tsv", "recipe.toml"}
        known |= {"checkpoint", "unbroken", "model"}
        left = {path.name for path in work.iterdir()} - known
        if left:
            killer.faults.append(f"left behind: {sorted(left)}")
    return killer


KILLERS: dict[str, Callable[[Path, int, int], Killer]] = {
    "run": kill_run,
    "train": kill_train,
    "export": kill_export,
}


def _start(command: Sequence[str | Path]) -> "subprocess.Popen[str]":
    program = "from tfm.runtime.commands.cli import cli; cli()"
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


@click.command()
@click.option("--kills", type=click.IntRange(1), default=50, show_default=True)
@click.option("--only", type=click.Choice(COMMANDS), help="One of the three.  [default: all]")
@click.option("--seed", type=int, default=0, show_default=True)
def command(kills: int, only: str | None, seed: int) -> None:
    """Kill each command so many times; exit status 1 if anything is lost or half-written."""
    faults = 0
    for name, kill in KILLERS.items():
        if only not in (None, name):
            continue
        began = time.monotonic()
        work = Path(tempfile.mkdtemp(prefix="tfm-kill-"))
        killer = kill(work, kills, seed)
        if killer.faults:
            click.echo(f"{name}: what was found is in {work}")
        else:
            shutil.rmtree(work)
        took = time.monotonic() - began
        click.echo(f"{name}: {killer.kills} kills in {took:.0f} s, {len(killer.faults)} faults")
        for fault in killer.faults:
            click.echo(f"  {fault}")
        faults += len(killer.faults)
    sys.exit(min(faults, 1))


if __name__ == "__main__":
    command()
