"""What an actor says of its tasks, also of those that cannot be done."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tfm.runtime import Translator
from tfm.runtime.cluster import TableTranslator
from tfm.runtime.cluster.folder_job import PieceTask
from tfm.runtime.cluster.ray_job import PieceWorker

TABLES = TableTranslator(beam_size=1)


@pytest.fixture
def task(tmp_path: Path) -> PieceTask:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "你好。"}\n{"text": 5}\n', "utf-8")
    return PieceTask(str(path), 0, path.stat().st_size, str(tmp_path / "parts"))


@pytest.fixture(scope="module")
def fingerprint() -> str:
    with Translator() as translator:
        return translator.fingerprint


def test_a_task_that_is_done(task: PieceTask, fingerprint: str) -> None:
    given = json.dumps(asdict(task))
    found = PieceWorker(TABLES, fingerprint)({"task": [given]})
    assert found["task"] == [given]
    assert (found["rows"], found["errors"], found["failed"]) == ([2], [1], [""])
    assert task.find() is not None


def test_tasks_that_cannot_be_done(task: PieceTask, fingerprint: str, tmp_path: Path) -> None:
    given = json.dumps(asdict(task))
    other = PieceWorker(TABLES, "another (1234)")({"task": [given]})
    assert other["failed"] == [f"this machine has another model: {fingerprint}, not another (1234)"]
    nowhere = PieceWorker(TableTranslator(tmp_path), fingerprint)({"task": [given]})
    assert "has no config.json" in nowhere["failed"][0]
    assert task.find() is None

    Path(task.path).unlink()
    gone = PieceWorker(TABLES, fingerprint)({"task": [given]})
    assert "No such file" in gone["failed"][0]
    assert gone["rows"] == [0]
    assert not list((tmp_path / "parts").iterdir())
