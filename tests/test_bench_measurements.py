"""`tfm bench` keeps what it measured: stopped runs go on, other runs are refused."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tfm_bench import machine, measure
from tfm_bench.busy import busy_neighbours
from tfm_bench.errors import BenchError
from tfm_bench.measurements import FILE, Measurements, open_measurements
from tfm_bench.pool import Worker

from tfm.runtime.commands.cli import cli

IDENTITY = {"model": "edge", "rounds": 5}


def filled(folder: Path) -> Path:
    with open_measurements(folder, IDENTITY) as measurements:
        measurements.add(("cells", "tfm int8", "b1", 1), {"seconds": 1.5})
        measurements.add(("cells", "tfm int8", "b1", 2), {"seconds": 2.5})
    return folder / FILE


def test_measurements_go_on(tmp_path: Path) -> None:
    filled(tmp_path)
    with open_measurements(tmp_path, IDENTITY) as measurements:
        assert len(measurements) == 2
        assert measurements.get("cells", "tfm int8", "b1", 2) == {"seconds": 2.5}
        measurements.add(("cells", "tfm int8", "b1", 3), {"seconds": 3.5})
    with open_measurements(tmp_path, IDENTITY) as measurements:
        rounds = measurements.rounds("cells", "tfm int8", "b1")
        assert [entry["seconds"] for entry in rounds] == [1.5, 2.5, 3.5]
        assert ("cells", "tfm int8", "b8", 1) not in measurements


@pytest.mark.parametrize("cut", [1, 10])
def test_a_line_that_was_not_written_whole_is_cut_off(tmp_path: Path, cut: int) -> None:
    path = filled(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with open_measurements(tmp_path, IDENTITY) as measurements:
        assert len(measurements.rounds("cells", "tfm int8", "b1")) == 1
        measurements.add(("cells", "tfm int8", "b1", 2), {"seconds": 2.5})
    assert path.read_bytes() == whole


def test_a_first_line_that_was_not_written_whole(tmp_path: Path) -> None:
    path = filled(tmp_path)
    path.write_bytes(path.read_bytes()[:5])
    with open_measurements(tmp_path, IDENTITY) as measurements:
        assert not len(measurements)
    assert json.loads(path.read_text("utf-8")) == IDENTITY


def test_another_run_is_refused(tmp_path: Path) -> None:
    path = filled(tmp_path)
    before = path.read_bytes()
    for identity, difference in (
        ({**IDENTITY, "rounds": 3}, "rounds 5, now 3"),
        ({**IDENTITY, "busy": 1}, "busy null, now 1"),
        ({"rounds": 5}, "model edge, now null"),
    ):
        with (
            pytest.raises(BenchError, match=f"holds another run .{difference}."),
            open_measurements(tmp_path, identity),
        ):
            pass
    for damage in (b"[]\n", b"{\n", b'{"key": 1}\n', b"{}\n", b"\xff\n"):
        path.write_bytes(before + damage)
        with pytest.raises(BenchError, match="is damaged"), open_measurements(tmp_path, IDENTITY):
            pass


@pytest.mark.skipif(sys.platform == "win32", reason="locks of another kind")
def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    with (
        open_measurements(tmp_path, IDENTITY),
        pytest.raises(BenchError, match="another `tfm bench` is writing it"),
        open_measurements(tmp_path, IDENTITY),
    ):
        pass


def test_measurements_without_a_file() -> None:
    with open_measurements(None, IDENTITY) as measurements:
        measurements.add(("a",), {"b": 1})
        assert isinstance(measurements, Measurements)
        assert measurements.get("a") == {"b": 1}


@pytest.fixture
def bench(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """`tfm bench` of a model folder, our int8 and CTranslate2 with one thread."""
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("七\n九十\n三百零五\n", "utf-8")
    monkeypatch.setattr(measure, "TURN_S", 0.001)
    monkeypatch.setattr(measure, "FRESH_STARTS", 1)

    def run(*options: str | Path) -> Result:
        arguments = [
            *("bench", tiny_folder, "--sentences", sentences, "--variant", "int8", "--length", 6),
            *("--against", "ctranslate2", "--threads", 1, "--rounds", 2, "--batch", 2),
            *("--keep", tmp_path / "kept", "--output", tmp_path / "results", *options),
        ]
        return CliRunner().invoke(cli, [str(argument) for argument in arguments])

    return run


def entries(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / FILE).read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines[1:]]


def test_ctrl_c_prints_what_there_is_and_the_next_run_goes_on(
    bench: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tmp_path / "results"
    plain = Worker.translate
    calls = 0

    def translate(worker: Worker, *arguments: Any, **options: Any) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls == 17:  # 12 turns warm up, the first round is under way
            raise KeyboardInterrupt
        return plain(worker, *arguments, **options)

    monkeypatch.setattr(Worker, "translate", translate)
    parts = ("--parts", "cells,mixed,fresh")
    stopped = bench(*parts)
    assert stopped.exit_code != 0
    assert "| tokens/s, 1 thread | b2 greedy |" in stopped.stdout
    assert "stopped before everything was measured" in stopped.stdout
    assert (folder / "report.md").read_text("utf-8") == stopped.stdout
    kept = entries(folder)
    assert len(kept) == 16

    monkeypatch.setattr(Worker, "translate", plain)
    finished = bench(*parts)
    assert finished.exit_code == 0, finished.output
    assert f"{folder}: going on after 16 measurements" in caplog.messages
    assert "stopped" not in finished.stdout
    found = entries(folder)
    assert found[:16] == kept
    keys = [tuple(entry["key"]) for entry in found]
    assert len(set(keys)) == len(keys) == 12 + 2 * 12 + 1 + 3  # PyTorch's reference, fresh starts

    def start(*_arguments: Any, **_options: Any) -> None:
        raise AssertionError("nothing is left to measure")

    monkeypatch.setattr(Worker, "__init__", start)
    again = bench(*parts)
    assert (again.exit_code, again.stdout) == (0, finished.stdout)

    refused = bench(*parts, "--rounds", "3")
    assert refused.exit_code == 1
    assert refused.stdout == ""
    error = refused.stderr.splitlines()[-1]
    assert error == (
        f"Error: {folder / FILE} holds another run (rounds 2, now 3): name another folder with"
        " --output, or delete the file"
    )


def test_several_models_and_neighbours(
    bench: Callable[..., Result], tmp_path: Path, tiny_folder: Path
) -> None:
    done = bench("--parts", "mixed,latency", "--beam", "1", "--busy", "0,1")
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        tiny_folder.name,
        f"{tiny_folder.name}-busy-1",
    }
    alone, beside = done.stdout.split(", beside 1 busy neighbour of one thread each\n")
    for report in (alone, beside):
        assert report.count("| tokens per CPU second, 1 thread | mixed greedy |") == 1
    assert "p50 / p95" in alone
    assert "p50 / p95" not in beside  # beside neighbours only speed is measured


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_busy_neighbours_end_with_the_block() -> None:
    with pytest.raises(KeyError), busy_neighbours(2) as pids:
        assert len(set(pids)) == 2
        before = [_cpu_ticks(pid) for pid in pids]
        deadline = time.monotonic() + 60
        while any(_cpu_ticks(pid) <= t for pid, t in zip(pids, before, strict=True)):
            assert time.monotonic() < deadline
        raise KeyError
    assert not any(Path("/proc", str(pid)).exists() for pid in pids)
    with busy_neighbours(0) as pids:
        assert pids == []


def _cpu_ticks(pid: int) -> int:
    return int(Path("/proc", str(pid), "stat").read_text("utf-8").rpartition(")")[2].split()[11])


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel sees to it on Linux only")
def test_busy_neighbours_end_with_a_parent_that_is_killed() -> None:
    code = (
        "import time\n"
        "from tfm_bench.busy import busy_neighbours\n"
        "with busy_neighbours(1) as pids:\n"
        "    print(*pids, flush=True)\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    try:
        pid = int(parent.stdout.readline())
        assert Path("/proc", str(pid)).exists()
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
    deadline = time.monotonic() + 60
    while Path("/proc", str(pid)).exists() and _state(pid) != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _state(pid: int) -> str:
    try:
        return Path("/proc", str(pid), "stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_own_children_are_no_other_load() -> None:
    own_s = machine._own_processes_s
    before = own_s()
    with busy_neighbours(1) as (pid,):
        ticks = os.sysconf("SC_CLK_TCK")
        while _cpu_ticks(pid) < 0.3 * ticks:
            time.sleep(0.01)
        assert own_s() - before > 0.29  # a difference of floats: 0.3 may come out as 0.2999…
    assert own_s() - before > 0.29  # ended children count too
