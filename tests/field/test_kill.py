"""kill -9 loses nothing: the small form of kill.py."""

import random
import sys
from pathlib import Path

import pytest
from field.kill import Killer, kill_export, kill_run, kill_train


def test_killed_runs_resume_to_the_same_file(tiny_folder: Path, tmp_path: Path) -> None:
    killer = kill_run(tmp_path, kills=2, seed=1, model=tiny_folder, lines=600)
    assert killer.faults == []
    assert killer.kills == 2


@pytest.mark.slow
def test_killed_trainings_resume_to_the_same_losses(tmp_path: Path) -> None:
    killer = kill_train(tmp_path, kills=5, seed=1)
    assert killer.faults == []
    assert killer.kills == 5


@pytest.mark.slow
def test_killed_exports_leave_nothing_half_written(tmp_path: Path) -> None:
    killer = kill_export(tmp_path, kills=5, seed=1)
    assert killer.faults == []
    assert killer.kills == 5


def test_a_command_that_fails_is_a_fault() -> None:
    killer = Killer(random.Random(0), longest=30.0)
    killer.broken(["info", "no such folder"], 1)
    assert len(killer.faults) == 1
    assert "no such folder" in killer.faults[0]
    assert sys.executable not in killer.faults[0]
