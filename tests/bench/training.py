"""Training speed beside JoeyNMT: target tokens per second, as each toolkit itself logs them.

Both are run as their users run them, `tfm train` and `python -m joeynmt train`, each turn a new
process, in turns. Both count real target tokens with EOS, and time whole updates: making the
batch, forward, backward, clipping, Adam. What cannot be made equal, or is each toolkit's own:

- JoeyNMT fills its batches with sentences in random order, so more of them is padding. It is
  measured a second time with a corpus in an order that gives it batches of like lengths.
- JoeyNMT's batch may pass max_tokens by one sentence; ours may not, and counts BOS too.
- JoeyNMT also drops out attention weights and the inner layer of the feed-forward network, and
  counts correct tokens; its attention keys have a bias, and its label smoothing leaves out padding.
- `tfm train` asks the allocator to keep memory; JoeyNMT leaves glibc's defaults. To give both the
  same, set MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=4000000000 for the whole command.
"""

import dataclasses
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from .errors import BenchError
from .machine import OtherProcesses, processor
from .pool import THREAD_VARIABLES, terminable
from .training_data import (
    START,
    WARMUP_STEPS,
    Material,
    Setting,
    write_joeynmt_config,
    write_material,
    write_recipe,
)

INSTALL = (
    "pip install -c constraints.txt torch sacrebleu sentencepiece matplotlib pyyaml packaging"
    " tensorboard subword-nmt importlib_metadata plotly && pip install --no-deps joeynmt==2.3.0"
)
MOST_DIFFERENCE = 0.01  # of the parameter counts
OURS = "tfm"

Turn = Callable[[int], tuple[float, int]]


@dataclass(slots=True)
class TrainingResults:
    """Keys are the names of systems, ours first; tokens_per_s has one figure a round."""

    settings: dict[str, str] = field(default_factory=dict)
    tokens_per_s: dict[str, list[float]] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)

    def ratios(self, system: str) -> list[float]:
        """How many times as fast we are, in each round."""
        ours, theirs = next(iter(self.tokens_per_s.values())), self.tokens_per_s[system]
        return [a / b for a, b in zip(ours, theirs, strict=True)]


def run_training(
    setting: Setting, joeynmt_python: Path, *, rounds: int, output: Path | None
) -> str:
    """Measure and return the report; output is a JSON file to write.

    Raises:
        BenchError: the interpreter has no JoeyNMT, a training failed, or the models differ
    """
    peer = joeynmt_versions(joeynmt_python)
    with terminable(), tempfile.TemporaryDirectory(prefix="tfm-bench-") as temporary:
        folder = Path(temporary)
        material = write_material(setting, folder)
        name = f"JoeyNMT {peer['joeynmt']}"
        joeynmt = partial(_train_joeynmt, setting, material, joeynmt_python)
        other_processes = OtherProcesses()
        results = take_turns(
            {
                f"{OURS} {version('tfm')}": partial(_train_ours, setting, material),
                name: partial(joeynmt, False),
                f"{name}, corpus by length": partial(joeynmt, True),
            },
            rounds,
        )
        share = other_processes.share()
    results.settings = {
        "model": f"{setting.preset}, V {setting.vocab_size} (joint, tied), post-norm, dropout "
        f"{setting.dropout:g}, label smoothing 0.1, fp32",
        "data": f"{setting.pairs} pairs, {material.tokens_per_target:.1f} tokens a target; "
        f"batches of {setting.max_tokens} tokens with padding",
        "rounds": f"rounds: {rounds} (medians), {setting.steps} steps each after {WARMUP_STEPS}",
        "threads": f"threads: {setting.threads}",
        "versions": f"torch {version('torch')}, JoeyNMT's torch {peer['torch']}",
        "processor": processor(),
        **({} if share is None else {"others": f"other processes used {share:.0%} of it"}),
    }
    if output:
        write_results(results, output)
    return as_markdown(results)


def joeynmt_versions(python: Path) -> dict[str, str]:
    """The versions of `joeynmt` and `torch` that this interpreter imports.

    Raises:
        BenchError: it cannot be run, or cannot import JoeyNMT
    """
    code = (
        "import json, joeynmt.training; from importlib.metadata import version;"
        "print(json.dumps({name: version(name) for name in ('joeynmt', 'torch')}))"
    )
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, encoding="utf-8")
    except OSError as error:
        raise BenchError(f"--joeynmt-python {python} cannot be run: {error.strerror}") from error
    if done.returncode:
        raise BenchError(
            f"--joeynmt-python {python} cannot import joeynmt ({_last_line(done.stderr)}); in an"
            f" environment of its own: {INSTALL}"
        )
    versions: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return versions


def take_turns(systems: dict[str, Turn], rounds: int) -> TrainingResults:
    """Let every system train once a round; a turn returns tokens/s and the parameter count.

    Raises:
        BenchError: the parameter counts differ by more than MOST_DIFFERENCE
    """
    results = TrainingResults({}, {name: [] for name in systems})
    with tqdm(total=rounds * len(systems), desc="training", leave=False, disable=None) as bar:
        for number in range(1, rounds + 1):
            # Another system begins in each round, so that going first helps none more than others.
            order = [*systems.items()]
            shift = (number - 1) % len(order)
            for name, turn in order[shift:] + order[:shift]:
                speed, results.parameters[name] = turn(number)
                results.tokens_per_s[name].append(speed)
                _check_sizes(results.parameters)
                bar.update()
    return results


def _check_sizes(parameters: dict[str, int]) -> None:
    if max(parameters.values()) > (1 + MOST_DIFFERENCE) * min(parameters.values()):
        counts = ", ".join(f"{name} {count}" for name, count in parameters.items())
        raise BenchError(f"these are not the same model: parameters {counts}")


def _train_ours(setting: Setting, material: Material, number: int) -> tuple[float, int]:
    folder = material.folder
    out = folder / f"ours-{number}"
    recipe = folder / "recipe.toml"
    write_recipe(setting, recipe, number)
    command: list[str | Path] = [sys.executable, "-m", "tfm.runtime", "train", recipe]
    command += ["--out", out, "--init", folder / START, "--threads", str(setting.threads)]
    _run(command, setting.threads)
    text = (out / "metrics.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    speeds = {
        line["step"]: line["tokens_per_second"] for line in lines if "tokens_per_second" in line
    }
    return steady_speed(speeds), material.parameters


def _train_joeynmt(
    setting: Setting, material: Material, python: Path, ordered: bool, number: int
) -> tuple[float, int]:
    name = f"joeynmt-{'ordered' if ordered else 'own'}-{number}"
    config, out = material.folder / f"{name}.yaml", material.folder / name
    write_joeynmt_config(setting, material, config, out, number, ordered=ordered)
    _run([python, "-m", "joeynmt", "train", config, "--skip-test"], setting.threads)
    return read_joeynmt_log((out / "train.log").read_text("utf-8"))


def read_joeynmt_log(text: str) -> tuple[float, int]:
    """tokens/s after the warm-up, and the number of parameters."""
    steps = re.findall(r"Step: +(\d+),.*Tokens per Sec: +(\d+)", text)
    parameters = re.search(r"Total params: (\d+)", text)
    if parameters is None:
        raise BenchError("JoeyNMT's train.log has no line `Total params`: use joeynmt==2.3.0")
    return steady_speed({int(step): float(speed) for step, speed in steps}), int(parameters[1])


def steady_speed(speeds: dict[int, float]) -> float:
    """Tokens/s over the steps after the warm-up, from the figure logged at each LOG_STEPS.

    Every figure covers as many steps, hence about as many tokens: their harmonic mean.
    """
    steady = [speed for step, speed in speeds.items() if step > WARMUP_STEPS]
    if not steady:
        raise BenchError(f"nothing was logged after step {WARMUP_STEPS}: raise --steps")
    return statistics.harmonic_mean(steady)


def _run(command: Sequence[str | Path], threads: int) -> None:
    environment = {
        **os.environ,
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", errors="replace"
    )
    if done.returncode:
        shown = " ".join(map(str, command[:4]))
        raise BenchError(f"{shown}: ended with status {done.returncode}: {_last_line(done.stderr)}")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "it wrote nothing to stderr"


def as_markdown(results: TrainingResults) -> str:
    """The table, and the settings line."""
    ours = next(iter(results.tokens_per_s))
    lines = [
        "| training | target tokens/s | tfm is faster (rounds) | parameters |",
        "|---|--:|--:|--:|",
    ]
    for system, speeds in results.tokens_per_s.items():
        ratio = "-"
        if system != ours:
            ratios = results.ratios(system)
            ratio = f"{statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"
        count = results.parameters[system]
        lines.append(f"| {system} | {statistics.median(speeds):.0f} | {ratio} | {count} |")
    return "\n".join(lines) + "\n\n" + "; ".join(results.settings.values())


def write_results(results: TrainingResults, path: Path) -> None:
    """Every number of every round, and the ratios, as JSON."""
    ours = next(iter(results.tokens_per_s))
    ratios = {name: results.ratios(name) for name in results.tokens_per_s if name != ours}
    tree = {**dataclasses.asdict(results), "ratios": ratios}
    path.write_text(json.dumps(tree, indent=2) + "\n", "utf-8")
