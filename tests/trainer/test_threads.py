"""The number of threads on a machine that is simulated: other programs come and go."""

from dataclasses import dataclass, field

import pytest
import torch

from tfm.trainer.threads import ThreadWatch, default_threads


@dataclass
class Machine:
    """Seconds that a step takes, by the number of threads, while it is busy and while it is not."""

    busy: dict[int, float]
    idle: dict[int, float]
    is_busy: bool = True
    threads: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    chosen: list[int] = field(default_factory=list)

    def set_threads(self, threads: int) -> None:
        self.threads = threads

    def watch(self, most: int) -> ThreadWatch:
        return ThreadWatch(
            most,
            set_threads=self.set_threads,
            wall_clock=lambda: self.wall,
            cpu_clock=lambda: self.cpu,
        )

    def train(self, watch: ThreadWatch, seconds: float) -> None:
        end = self.wall + seconds
        while self.wall < end:
            self.chosen.append(self.threads)
            watch.begin_step()
            times = self.busy if self.is_busy else self.idle
            self.wall += times[self.threads]
            share = 1.0 / self.threads if self.is_busy else 1.0
            self.cpu += times[self.threads] * self.threads * share
            watch.end_step(len(self.chosen), 1000)


def test_one_thread_beside_a_busy_program_and_two_when_it_has_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    machine = Machine(busy={1: 0.6, 2: 12.0}, idle={1: 0.5, 2: 0.3})
    watch = machine.watch(2)
    machine.train(watch, 60)
    assert watch.threads == machine.threads == 1
    assert machine.chosen.count(2) == 2  # two slow steps were enough
    assert caplog.messages == [
        "from step 4 on: 1 instead of 2 CPU threads, 20.0 times as fast beside what else runs "
        "here; the order of sums changes, and with it their last digits (--threads keeps a number)"
    ]
    machine.is_busy = False
    machine.train(watch, 120)
    assert watch.threads == machine.threads == 2
    assert len(caplog.messages) == 2 and "2 instead of 1" in caplog.messages[1]


def test_half_of_many_threads() -> None:
    machine = Machine(busy={1: 4.0, 4: 1.0, 8: 5.0}, idle={})
    watch = machine.watch(8)
    machine.train(watch, 40)
    assert watch.threads == 4


def test_an_idle_machine_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(busy={}, idle={1: 0.5, 2: 0.3}, is_busy=False)
    machine.train(machine.watch(2), 300)
    assert set(machine.chosen) == {2} and not caplog.messages


def test_trials_that_do_not_help_become_rare(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(busy={1: 0.6, 2: 0.6}, idle={})
    watch = machine.watch(2)
    machine.train(watch, 3600)
    assert watch.threads == 2 and not caplog.messages
    assert machine.chosen.count(1) <= 7


def test_one_core_has_nothing_to_choose() -> None:
    machine = Machine(busy={1: 0.6}, idle={})
    machine.train(machine.watch(1), 300)
    assert set(machine.chosen) == {1}


def test_the_default_is_what_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfm.trainer.threads.usable_cores", lambda: 1)
    assert default_threads() == 1
    monkeypatch.setattr("tfm.trainer.threads.usable_cores", lambda: 1000)
    assert default_threads() == torch.get_num_threads()


def test_a_training_tells_its_watch(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    from helpers.capitals import RECIPE, write_corpus
    from helpers.command import tfm

    folder = tmp_path_factory.mktemp("watched")
    write_corpus(folder)
    (folder / "recipe.toml").write_text(RECIPE.replace("max_steps = 14", "max_steps = 2"), "utf-8")
    steps: list[int] = []
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OMP_NUM_THREADS", raising=False)
        patch.setattr(ThreadWatch, "end_step", lambda _, number, work: steps.append(number))
        arguments = ("train", str(folder / "recipe.toml"), "--out")
        assert tfm(*arguments, str(folder / "watched"))[0] == 0
        assert steps == [1, 2]
        assert tfm(*arguments, str(folder / "fixed"), "--threads", "3")[0] == 0
        assert steps == [1, 2]
    torch.set_num_threads(before)
