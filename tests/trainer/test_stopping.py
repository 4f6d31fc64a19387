"""Signals: what `tfm train` does and says when it is asked to stop."""

import signal
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.training import call_at, change

from tfm.trainer import checkpoint as files
from tfm.trainer.commands.train import train as train_command
from tfm.trainer.config import load_recipe
from tfm.trainer.stopping import Interrupted
from tfm.trainer.train import train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_command_says_how_to_continue(
    number: signal.Signals,
    status: int,
    recipe_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        call_at(patch, 2, lambda: signal.raise_signal(number))
        arguments = [str(recipe_path), "--out", str(tmp_path), "--threads", "1"]
        result = CliRunner().invoke(train_command, arguments)
    assert result.exit_code == status
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last == (
        f"stopped at step 2; continue with: tfm train {recipe_path} --out {tmp_path} --resume"
        " --threads 1"
    )
    assert (tmp_path / files.LAST).exists()


def test_nohup_is_left_alone_and_hangup_is_not(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(signal, "SIGHUP"):
        pytest.skip("no SIGHUP here")
    recipe = change(load_recipe(recipe_path), max_steps=3)
    call_at(monkeypatch, 2, lambda: signal.raise_signal(signal.SIGHUP))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert train(recipe, tmp_path / "nohup", resume=False).step == 3
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with pytest.raises(Interrupted) as stop:
            train(recipe, tmp_path / "terminal", resume=False)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (stop.value.step, stop.value.signal_number) == (2, signal.SIGHUP)


def test_a_second_ctrl_c_gets_through(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    call_at(monkeypatch, 2, twice)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(load_recipe(recipe_path), tmp_path, resume=False)
    assert signal.getsignal(signal.SIGINT) == before
