"""What a job does again, and what it leaves alone: without Ray, which only runs the tasks."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tfm.runtime import TfmError
from tfm.runtime.cluster.folder_job import JOURNAL, PARTS, FolderJob, PieceTask
from tfm.runtime.cluster.table_translator import TableTranslator
from tfm.runtime.files.lock import try_lock

SETTINGS = {"model": "one"}


class Reversed(TableTranslator):
    """Says everything backwards; fails at "stop"."""

    def translate_texts(self, texts: Any) -> Any:
        """Raises ValueError at "stop"."""
        if "stop" in texts:
            raise ValueError("told to stop")
        return [t[::-1] for t in texts], ["odd" if t == "bad" else None for t in texts]


REVERSED = Reversed()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for name, count in (("a", 25), ("sub/b", 5)):
        rows = [json.dumps({"text": f"{name} {n}"}) + "\n" for n in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(rows), "utf-8")
    (folder / "_hidden.jsonl").write_text("", "utf-8")
    (folder / "notes.txt").write_text("", "utf-8")
    return folder


def job(source: Path, settings: dict[str, str] = SETTINGS, **how: Any) -> FolderJob:
    return FolderJob(
        source, source.parent / "out", REVERSED, settings, **{"rows_per_task": 10, **how}
    )


def run(what: FolderJob, most: int = 1000) -> list[PieceTask]:
    """Run so many of its tasks, as Ray would."""
    done = what.tasks[:most]
    with what.open():
        for task in done:
            try:
                what.done(task, task.run(REVERSED))
            except ValueError as error:
                what.fail(task, str(error))
    return done


def translations(path: Path) -> list[str]:
    return [json.loads(line)["translation"] for line in path.read_text("utf-8").splitlines()]


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_every_file_becomes_one(source: Path) -> None:
    found = job(source)
    assert len(run(found)) == 4
    out = source.parent / "out"
    assert files(out) == {"a.jsonl", "sub/b.jsonl", JOURNAL}
    assert translations(out / "a.jsonl") == [f"a {n}"[::-1] for n in range(25)]
    assert found.counts["a.jsonl"].rows == 25
    assert (found.failed, found.finished) == ({}, 0)


def test_finished_files_are_left_alone(source: Path) -> None:
    run(job(source))
    out = source.parent / "out"
    before = (out / "a.jsonl").stat()
    (source / "c.jsonl").write_text('{"text": "new"}\n', "utf-8")
    again = job(source)
    assert again.finished == 2
    assert [Path(task.path).name for task in run(again)] == ["c.jsonl"]
    assert os.path.samestat((out / "a.jsonl").stat(), before)
    assert sum(counts.rows for counts in again.counts.values()) == 31
    assert len(run(job(source, overwrite=True))) == 5
    assert not os.path.samestat((out / "a.jsonl").stat(), before)


def test_overwriting_that_stopped_goes_on(source: Path) -> None:
    run(job(source))
    run(job(source, overwrite=True), 3)  # a.jsonl, but not sub/b.jsonl
    again = job(source)
    assert (again.finished, len(again.tasks)) == (1, 1)
    run(again)
    assert job(source).finished == 2


@pytest.mark.parametrize("most", [0, 1, 2, 3])
def test_a_run_that_stopped_goes_on(source: Path, most: int) -> None:
    first = job(source)
    run(first, most)
    out = source.parent / "out"
    assert (out / "a.jsonl").exists() == (most == 3)
    again = job(source)
    assert len(again.tasks) == 4 - most
    run(again)
    assert files(out) == {"a.jsonl", "sub/b.jsonl", JOURNAL}
    assert translations(out / "a.jsonl") == [f"a {n}"[::-1] for n in range(25)]


def test_a_run_that_stopped_before_the_parts_were_joined(source: Path) -> None:
    first = job(source)
    for task in first.tasks:
        task.run(REVERSED)
    again = job(source)
    assert again.tasks == []
    run(again)
    assert sum(counts.rows for counts in again.counts.values()) == 30


def test_a_run_that_died_before_a_file_was_recorded(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_self: FolderJob) -> None:
        if (source.parent / "out" / "a.jsonl").exists():
            raise KeyboardInterrupt

    write = FolderJob._write_journal
    monkeypatch.setattr(FolderJob, "_write_journal", lambda self: (die(self), write(self))[1])
    with pytest.raises(KeyboardInterrupt):
        run(job(source))
    monkeypatch.undo()
    again = job(source)
    assert len(again.tasks) == 1  # of sub/b.jsonl: the parts of a.jsonl are there
    run(again)
    assert translations(source.parent / "out" / "a.jsonl") == [f"a {n}"[::-1] for n in range(25)]
    assert files(source.parent / "out") == {"a.jsonl", "sub/b.jsonl", JOURNAL}


def test_parts_of_an_older_input_are_not_used(source: Path) -> None:
    run(job(source), 1)
    before = (source / "a.jsonl").read_text("utf-8")
    (source / "a.jsonl").write_text(before.replace("a ", "c "), "utf-8")  # of the same size
    run(job(source))
    assert translations(source.parent / "out" / "a.jsonl") == [f"c {n}"[::-1] for n in range(25)]
    assert not (source.parent / "out" / PARTS).exists()


def test_a_task_that_is_run_twice_gives_the_same(source: Path) -> None:
    task = job(source).tasks[0]
    counts = task.run(REVERSED)
    (part,) = Path(task.parts).iterdir()
    before = part.read_bytes()
    assert task.run(REVERSED) == counts  # found
    part.unlink()
    assert task.run(REVERSED) == counts  # made again
    assert [p.read_bytes() for p in Path(task.parts).iterdir()] == [before]


def test_a_file_that_fails_stops_no_other(source: Path) -> None:
    (source / "a.jsonl").write_text('{"text": "stop"}\n', "utf-8")
    (source / "d.jsonl").write_text('{"zh": "one"}\n', "utf-8")
    found = job(source)
    run(found)
    assert found.failed["a.jsonl"] == "told to stop"
    assert "no column 'text': it has 'zh'" in found.failed["d.jsonl"]
    assert files(source.parent / "out") == {"sub/b.jsonl", JOURNAL}
    assert list(found.counts) == ["sub/b.jsonl"]


def test_rows_with_errors_are_counted(source: Path) -> None:
    (source / "a.jsonl").write_text('{"text": "bad"}\n{"text": "x"}\n', "utf-8")
    found = job(source)
    run(found)
    assert (found.counts["a.jsonl"].rows, found.counts["a.jsonl"].errors) == (2, 1)
    assert job(source).counts == found.counts  # of files that were finished before as well


def test_what_is_not_written_over(source: Path) -> None:
    run(job(source))
    with pytest.raises(TfmError, match=r"was made with model 'one', now it is 'two'.*--overwrite"):
        job(source, {"model": "two"})
    assert len(job(source, {"model": "two"}, overwrite=True).tasks) == 4
    os.utime(source / "a.jsonl", (1, 1))
    with pytest.raises(TfmError, match=r"a.jsonl was changed after .*: --overwrite"):
        job(source)
    (source.parent / "out" / JOURNAL).write_text("{", "utf-8")
    with pytest.raises(TfmError, match=r"_tfm.json is damaged"):
        job(source)
    (source.parent / "out" / JOURNAL).unlink()
    with pytest.raises(TfmError, match=r"a.jsonl is there, and is of no earlier run"):
        job(source)


def test_folders_that_cannot_be_taken(source: Path, tmp_path: Path) -> None:
    with pytest.raises(TfmError, match="which is read: choose another"):
        FolderJob(source, source / "out", REVERSED, SETTINGS, rows_per_task=1)
    with pytest.raises(TfmError, match="which is read: choose another"):
        FolderJob(source, source, REVERSED, SETTINGS, rows_per_task=1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TfmError, match=r"no files of .parquet or .jsonl"):
        job(tmp_path / "empty")
    with pytest.raises(TfmError, match=r"expected a folder, or a file of .parquet"):
        job(source / "notes.txt")


def test_the_input_is_never_written_over(source: Path, tmp_path: Path) -> None:
    before = (source / "a.jsonl").read_bytes()
    (tmp_path / "link").symlink_to(source)
    for given, output in ((source / "a.jsonl", source), (source, tmp_path / "link")):
        with pytest.raises(TfmError, match="is read, and would be overwritten"):
            FolderJob(given, output, REVERSED, SETTINGS, rows_per_task=1, overwrite=True)
    assert (source / "a.jsonl").read_bytes() == before


def test_one_file_as_input(source: Path) -> None:
    run(job(source / "a.jsonl"))
    assert files(source / "out") == {"a.jsonl", JOURNAL}


def test_two_jobs_with_one_output(source: Path) -> None:
    first, second = job(source), job(source)
    with (
        first.open(),
        pytest.raises(TfmError, match="another process is writing it"),
        second.open(),
    ):
        pass
    with (source.parent / "x").open("wb") as stream:
        assert try_lock(stream)
