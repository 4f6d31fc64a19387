"""`tfm ray` on real Ray in this machine: whole folders, an actor that dies, Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.command import tfm
from helpers.needs import needs_module
from helpers.processes import command_line, descendants

from tfm.runtime import Translator

ACTOR = "ray::MapWorker"
SECONDS = 400  # that a job may take beside other work


def write_rows(path: Path, texts: Sequence[str | None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        arrow, parquet = needs_module("pyarrow"), needs_module("pyarrow.parquet")
        table = arrow.table({"id": list(range(len(texts))), "zh": texts})
        parquet.write_table(table, path, row_group_size=300)
    else:
        rows = [{"id": n, "zh": text} for n, text in enumerate(texts)]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        path.write_text(text, "utf-8")


def read_rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = needs_module("pyarrow.parquet").read_table(path).to_pylist()
        return rows
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


class Job:
    """The command in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        code = "from tfm.runtime.commands.program import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "ray", *arguments, "--column", "zh", "--beam-size", "1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )

    def wait_until_parts(self, folder: Path, count: int) -> None:
        """Until so many pieces are translated."""
        end = time.monotonic() + SECONDS
        while len(list((folder / ".tfm-parts").rglob("*_*_*"))) < count:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)

    def actors(self) -> list[int]:
        """Processes that translate."""
        below = descendants(self.process.pid)
        return [pid for pid in below if command_line(pid).startswith(ACTOR)]

    def end(self) -> tuple[int, str]:
        """Exit status and stderr."""
        try:
            stdout, stderr = self.process.communicate(timeout=SECONDS)
        finally:
            for pid in [*descendants(self.process.pid), self.process.pid]:
                if self.process.poll() is None:
                    os.kill(pid, signal.SIGKILL)
        assert stdout == ""
        return self.process.returncode, stderr


def check_that_an_actor_may_die(tmp_path: Path, rows: int, rows_per_task: int) -> None:
    """Two actors, one of them killed in the middle: every row is there, in its order."""
    needs_module("ray")
    texts = [f"我有{n}本书。" if n % 100 else None for n in range(rows)]
    half = rows // 2
    write_rows(tmp_path / "in" / "a.parquet", texts[:half])
    write_rows(tmp_path / "in" / "sub" / "b.jsonl", texts[half:])
    out = tmp_path / "out"
    job = Job(
        *(str(tmp_path / "in"), str(out), "--actors", "2", "--rows-per-task", str(rows_per_task))
    )
    job.wait_until_parts(out, 1)
    actors = job.actors()
    assert len(actors) == 2
    os.kill(actors[0], signal.SIGKILL)
    status, stderr = job.end()
    assert status == 0, stderr
    assert stderr.splitlines()[-1] == f"2 files in {out}, {rows} rows"
    assert "Traceback" not in stderr

    found = read_rows(out / "a.parquet") + read_rows(out / "sub" / "b.jsonl")
    assert [row["zh"] for row in found] == texts
    assert [row["id"] for row in found] == [*range(half), *range(rows - half)]
    assert not [row for row in found if row["error"] is not None]
    given = [text for text in texts if text is not None]
    with Translator() as alone:
        expected = [t.text for t in alone.translate_batch(given, beam_size=1)]
    assert [row["translation"] for row in found if row["zh"] is not None] == expected
    assert not [row for row in found if row["zh"] is None and row["translation"] is not None]
    assert sorted(path.name for path in out.iterdir()) == ["_tfm.json", "a.parquet", "sub"]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc for the actor")
def test_an_actor_that_dies(tmp_path: Path) -> None:
    check_that_an_actor_may_die(tmp_path, rows=1200, rows_per_task=100)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc for the actor")
def test_an_actor_that_dies_in_20000_rows(tmp_path: Path) -> None:
    check_that_an_actor_may_die(tmp_path, rows=20_000, rows_per_task=500)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_job_that_is_stopped(tmp_path: Path, number: signal.Signals, status: int) -> None:
    """Files that are finished stay whole, and the next run goes on."""
    needs_module("ray")
    write_rows(tmp_path / "in" / "a.jsonl", ["你好。"] * 3)
    texts = [f"我有{n}本书。" for n in range(3000)]
    write_rows(tmp_path / "in" / "b.jsonl", texts)
    out = tmp_path / "out"
    arguments = (str(tmp_path / "in"), str(out), "--rows-per-task", "200")
    job = Job(*arguments)
    job.wait_until_parts(out, 2)
    os.kill(job.process.pid, number)
    ended, stderr = job.end()
    assert (ended, "Traceback" in stderr) == (status, False)
    assert [row["translation"] for row in read_rows(out / "a.jsonl")] == ["Hello."] * 3
    assert not (out / "b.jsonl").exists()
    left = len(list((out / ".tfm-parts").rglob("*_*_*")))
    assert left > 0

    returned, stderr = Job(*arguments).end()
    assert (returned, "1 of the files were finished before" in stderr) == (0, True)
    assert [row["zh"] for row in read_rows(out / "b.jsonl")] == texts


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    needs_module("pyarrow")
    write_rows(tmp_path / "in" / "a.jsonl", ["你好。"])
    given, out = str(tmp_path / "in"), str(tmp_path / "out")
    assert tfm("ray", str(tmp_path / "none"), out)[0] == 2
    assert tfm("ray", given, out, "--actors", "0")[0] == 2
    status, _, stderr = tfm("ray", given, out, "--target-language", "fr")
    assert (status, "--target-language is 'fr': this model has en" in stderr) == (2, True)
    status, _, stderr = tfm("ray", given, out, "--column", "error")
    assert (status, "each needs its own name" in stderr) == (2, True)
    status, _, stderr = tfm("ray", given, given)
    assert (status, stderr.count("\n")) == (1, 1)
    # Where nothing is left to do, Ray is not started.
    status, _, stderr = tfm("ray", given, out, "--column", "en")
    assert status == 1
    assert stderr.splitlines()[-1].endswith("has no column 'en': it has 'id', 'zh'")


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    write_rows(tmp_path / "in" / "a.jsonl", ["你好。"])
    arguments = ("ray", str(tmp_path / "in"), str(tmp_path / "out"), "--column", "zh")
    status, _, stderr = tfm(*arguments)
    assert (status, "tfm ray needs ray: pip install 'tfm[ray]'" in stderr) == (1, True)
