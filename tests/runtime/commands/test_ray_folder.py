"""`tfm ray` on real Ray in this machine: whole folders, an actor that dies, Ctrl-C."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.command import tfm
from helpers.needs import needs_module
from helpers.processes import command_line, descendants

from tfm.runtime import Translator
from tfm.runtime.cluster import TableTranslator

# Ray's processes are nice to others by default, and would wait for whatever else runs here.
os.environ.setdefault("RAY_worker_niceness", "0")

ACTOR = "ray::MapWorker"
HOW = ("--column", "zh", "--beam-size", "1")
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


class KillOne(threading.Thread):
    """Kills one of two actors below this process, once a piece is translated.

    Attributes:
        killed: its process
    """

    def __init__(self, out: Path) -> None:
        super().__init__(daemon=True)
        self._out = out
        self.killed: int | None = None

    def run(self) -> None:
        """Wait for the moment, for as long as a job may take."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            below = descendants(os.getpid())
            actors = [pid for pid in below if command_line(pid).startswith(ACTOR)]
            if len(actors) >= 2 and count_parts(self._out):
                os.kill(actors[0], signal.SIGKILL)
                self.killed = actors[0]
                return
            time.sleep(0.02)


class Job:
    """The command in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        code = "from tfm.runtime.commands.program import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "ray", *arguments, *HOW],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )

    def wait_until_finished(self, name: str, folder: Path) -> None:
        """Until a file is finished, and pieces of another are translated."""
        end = time.monotonic() + SECONDS
        while name not in finished_files(folder) or not count_parts(folder):
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)

    def end(self) -> tuple[int, str, str]:
        """Exit status, stdout and stderr."""
        below = descendants(self.process.pid)
        try:
            stdout, stderr = self.process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            for pid in [self.process.pid, *below]:
                os.kill(pid, signal.SIGKILL)
            raise
        return self.process.returncode, stdout, stderr


def finished_files(folder: Path) -> list[str]:
    """Those that the job has recorded."""
    try:
        return list(json.loads((folder / "_tfm.json").read_text("utf-8"))["files"])
    except FileNotFoundError:
        return []


def count_parts(folder: Path) -> int:
    """Pieces that are translated, of files that are not finished."""
    return len(list((folder / ".tfm-parts").rglob("*_*_*")))


def check_that_an_actor_may_die(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]], rows: int, rows_per_task: int
) -> None:
    """Two actors, one of them killed in the middle: every row is there, in its order."""
    texts = [f"我有{n}本书。" if n % 100 else None for n in range(rows)]
    half = rows // 2
    write_rows(tmp_path / "in" / "a.parquet", texts[:half])
    write_rows(tmp_path / "in" / "sub" / "b.jsonl", texts[half:])
    out = tmp_path / "out"
    killer = KillOne(out)
    killer.start()
    arguments = (str(tmp_path / "in"), str(out), "--actors", "2")
    status, stdout, stderr = run(*arguments, "--rows-per-task", str(rows_per_task))
    assert (status, stdout) == (0, ""), stderr
    assert killer.killed is not None
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


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Ray in this machine, which both tests use: it takes longest to start."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    module: Any = needs_module("ray")
    module.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 << 20,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield module
    module.shutdown()


@pytest.mark.filterwarnings("ignore")  # of Ray about its own code
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc for the actor")
def test_an_actor_that_dies(tmp_path: Path, ray: Any) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        return tfm("ray", *arguments, *HOW)

    check_that_an_actor_may_die(tmp_path, run, rows=2000, rows_per_task=100)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("batch_format", ["pyarrow", "numpy"])
def test_a_dataset(ray: Any, batch_format: str) -> None:
    data: Any = needs_module("ray.data")
    data.DataContext.get_current().enable_progress_bars = False
    texts = [f"我有{n}本书。" if n % 9 else None for n in range(60)]
    rows = [{"id": n, "zh": text} for n, text in enumerate(texts)]
    dataset = data.from_items(rows, override_num_blocks=3).map_batches(
        TableTranslator,
        fn_constructor_kwargs={"column": "zh", "beam_size": 1},
        batch_size=7,
        batch_format=batch_format,
        compute=data.ActorPoolStrategy(size=1),
    )
    found = sorted(dataset.take_all(), key=lambda row: row["id"])
    with Translator() as alone:
        expected = [text and alone.translate(text, beam_size=1).text for text in texts]
    assert [row["zh"] for row in found] == texts
    assert [row["translation"] for row in found] == expected
    assert [row["error"] for row in found] == [None] * len(texts)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc for the actor")
def test_an_actor_that_dies_in_20000_rows(tmp_path: Path) -> None:
    needs_module("ray")

    def run(*arguments: str) -> tuple[int, str, str]:
        return Job(*arguments).end()

    check_that_an_actor_may_die(tmp_path, run, rows=20_000, rows_per_task=500)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_job_that_is_stopped(tmp_path: Path, number: signal.Signals, status: int) -> None:
    """Files that are finished stay whole, and the next run goes on."""
    needs_module("ray")
    write_rows(tmp_path / "in" / "a.jsonl", ["你好。"] * 3)
    texts = [f"我有{n}本书。" for n in range(8000)]
    write_rows(tmp_path / "in" / "b.jsonl", texts)
    out = tmp_path / "out"
    arguments = (str(tmp_path / "in"), str(out), "--rows-per-task", "200")
    job = Job(*arguments)
    job.wait_until_finished("a.jsonl", out)
    os.kill(job.process.pid, number)
    ended, stdout, stderr = job.end()
    assert (ended, stdout, "Traceback" in stderr) == (status, "", False)
    assert [row["translation"] for row in read_rows(out / "a.jsonl")] == ["Hello."] * 3
    assert not (out / "b.jsonl").exists()
    assert count_parts(out) > 0

    ended, _, stderr = Job(*arguments).end()
    assert ended == 0, stderr
    assert "1 of the files were finished before" in stderr
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
    status, _, stderr = tfm("ray", given, out, "--column", "zh", "--address", "127.0.0.1:1")
    assert (status, stderr.count("\n")) == (1, 1)
    assert "no Ray cluster answers at 127.0.0.1:1" in stderr
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
