"""`tfm bench-training`: both toolkits get the same, figures are read right, errors are clear."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from tfm_bench.cli import bench_training
from tfm_bench.errors import BenchError
from tfm_bench.training import (
    TrainingResults,
    as_markdown,
    read_joeynmt_log,
    run_training,
    steady_speed,
    take_turns,
    write_results,
)
from tfm_bench.training_data import Setting, by_length, write_joeynmt_config, write_material

SMALL = Setting(vocab_size=1000, max_tokens=512, steps=10, pairs=300, threads=1)
LOG = """2026-01-01 00:00:00,000 - INFO - joeynmt.model - Total params: {parameters}
2026-01-01 00:00:01,000 - INFO - joeynmt.training - Epoch   1, Step:       10, Batch Loss: \
    9.131243, Batch Acc: 0.000000, Tokens per Sec:        7, Lr: 0.000003
2026-01-01 00:00:02,000 - INFO - joeynmt.training - Epoch   1, Step:       20, Batch Loss: \
    9.131243, Batch Acc: 0.000000, Tokens per Sec:       70, Lr: 0.000003
2026-01-01 00:00:03,000 - INFO - joeynmt.training - Epoch   1, Step:       30, Batch Loss: \
    9.131243, Batch Acc: 0.000000, Tokens per Sec:      100, Lr: 0.000003
"""
# Stands in JoeyNMT's place: it checks what it is given, and writes a log.
JOEYNMT = """
import json, pathlib, sys
mode, path, option = sys.argv[1:]
config = json.loads(pathlib.Path(path).read_text("utf-8"))
assert (mode, option) == ("train", "--skip-test")
for name in ("train", "dev"):
    for suffix in ("source", "target"):
        assert pathlib.Path(config["data"][name] + "." + suffix).stat().st_size
out = pathlib.Path(config["model_dir"])
out.mkdir()
(out / "train.log").write_text({log!r}, "utf-8")
"""


def bench(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(bench_training, [*map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def install_joeynmt(folder: Path, main: str) -> None:
    """A package `joeynmt` in a folder for PYTHONPATH."""
    package, information = folder / "joeynmt", folder / "joeynmt-2.3.0.dist-info"
    package.mkdir()
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: joeynmt\nVersion: 2.3.0\n")
    for name, text in (("__init__", ""), ("training", ""), ("__main__", main)):
        (package / f"{name}.py").write_text(text, "utf-8")


def test_a_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    material = tmp_path / "material"
    material.mkdir()
    parameters = write_material(SMALL, material).parameters
    install_joeynmt(tmp_path, JOEYNMT.format(log=LOG.format(parameters=parameters)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    output = tmp_path / "results.json"
    report = run_training(SMALL, Path(sys.executable), rounds=1, output=output)
    results = json.loads(output.read_text("utf-8"))
    ours, theirs, ordered = results["tokens_per_s"].values()
    assert ours[0] > 0
    assert (theirs, ordered) == ([100.0], [100.0])
    assert results["ratios"]["JoeyNMT 2.3.0"] == [ours[0] / 100]
    assert set(results["parameters"].values()) == {parameters}
    assert f"| JoeyNMT 2.3.0 | 100 | {ours[0] / 100:.2f}x" in report
    assert "threads: 1; torch " in report


def test_a_training_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_joeynmt(tmp_path, "raise SystemExit('no room')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(BenchError, match="joeynmt train: ended with status 1: no room"):
        run_training(SMALL, Path(sys.executable), rounds=1, output=None)


def test_an_interpreter_without_joeynmt(tmp_path: Path) -> None:
    result = bench("--joeynmt-python", sys.executable)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "cannot import joeynmt (ModuleNotFoundError: No module named 'joeynmt')" in result.stderr
    assert "pip install --no-deps joeynmt==" in result.stderr
    assert result.stderr.count("\n") == 1
    no_program = tmp_path / "python"
    no_program.write_text("")
    result = bench("--joeynmt-python", no_program)
    assert result.exit_code == 1
    assert "cannot be run: Permission denied" in result.stderr


def test_steps_are_whole_log_lines() -> None:
    result = bench("--joeynmt-python", sys.executable, "--steps", "25")
    assert (result.exit_code, result.stderr) == (1, "Error: --steps 25: choose a multiple of 10\n")


def test_figures_of_the_logs() -> None:
    assert read_joeynmt_log(LOG.format(parameters=2605056)) == (100.0, 2605056)
    # as many tokens at 100/s as at 300/s: together at 150/s, the warm-up left out
    assert steady_speed({10: 1.0, 20: 2.0, 30: 100.0, 40: 300.0}) == pytest.approx(150)
    with pytest.raises(BenchError, match="nothing was logged after step 20"):
        steady_speed({10: 1.0, 20: 2.0})
    with pytest.raises(BenchError, match="no line `Total params`"):
        read_joeynmt_log("")


def test_systems_take_turns() -> None:
    calls = []

    def turn(name: str, speeds: list[float]) -> object:
        def train(number: int) -> tuple[float, int]:
            calls.append((name, number))
            return speeds[number - 1], 1000

        return train

    systems = {"tfm": turn("a", [30.0, 40.0]), "other": turn("b", [10.0, 20.0])}
    results = take_turns(systems, 2)  # type: ignore[arg-type]
    assert calls == [("a", 1), ("b", 1), ("b", 2), ("a", 2)]
    assert results.ratios("other") == [3.0, 2.0]


def test_models_of_other_sizes_are_refused() -> None:
    take_turns({"tfm": lambda _: (1.0, 1000), "other": lambda _: (1.0, 1010)}, 1)
    with pytest.raises(BenchError, match="not the same model: parameters tfm 1000, other 1011"):
        take_turns({"tfm": lambda _: (1.0, 1000), "other": lambda _: (1.0, 1011)}, 1)


def test_the_report(tmp_path: Path) -> None:
    speeds = {"tfm": [300.0, 200.0, 400.0], "other": [100.0, 100.0, 100.0]}
    results = TrainingResults({"a": "tiny", "b": "fp32"}, speeds, {"tfm": 10, "other": 10})
    lines = as_markdown(results).splitlines()
    assert lines[2:] == [
        "| tfm | 300 | - | 10 |",
        "| other | 100 | 3.00x (2.00 to 4.00) | 10 |",
        "",
        "tiny; fp32",
    ]
    write_results(results, tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text("utf-8"))["ratios"] == {"other": [3, 2, 4]}


def test_joeynmt_is_given_the_same(tmp_path: Path) -> None:
    material = write_material(SMALL, tmp_path)
    named = (tmp_path / "tokens.txt").read_text("utf-8").split()
    assert len(named) == 1000 - 4  # JoeyNMT adds the special ones
    path = tmp_path / "config.yaml"
    write_joeynmt_config(SMALL, material, path, tmp_path / "out", 1, ordered=False)
    config = json.loads(path.read_text("utf-8"))
    stack = config["model"]["encoder"]
    assert [stack[name] for name in ("num_layers", "hidden_size", "ff_size")] == [4, 128, 256]
    for side in ("source", "target"):
        plain, ordered = (
            (tmp_path / f"{name}.{side}").read_text("utf-8").splitlines()
            for name in ("plain", "sorted")
        )
        assert plain != ordered
        assert sorted(plain) == sorted(ordered)
        assert {token for line in plain for token in line.split()} <= set(named)


def test_an_order_that_gives_batches_of_one_length() -> None:
    generator = np.random.default_rng(1)
    pairs = [([4] * int(n), [5] * int(n)) for n in generator.integers(3, 30, 500)]
    ordered = by_length(pairs, 200, generator)
    assert sorted(ordered) == sorted(pairs)
    batch: list[int] = []
    spreads = []
    for source, _ in ordered:
        batch.append(len(source))
        if len(batch) * (max(batch) + 1) >= 200:
            spreads.append(max(batch) - min(batch))
            batch = []
    assert max(spreads) <= 2
