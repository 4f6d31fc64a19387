"""How busy others are: from /proc/stat as Linux writes it, at moments of a clock of the test's."""

from pathlib import Path

import pytest

from tfm.runtime import cpu_load
from tfm.runtime.cpu_load import CpuLoad


class Machine:
    """Four processors, of which this process may use three; `after` lets time pass."""

    def __init__(self, stat: Path) -> None:
        self.stat = stat
        self.seconds, self.own = 100.0, 0.0  # since it was started
        self.busy = dict.fromkeys(range(4), 0.0)
        self._write()

    def after(self, seconds: float, *, own: float = 0, others: dict[int, float]) -> None:
        """Of each processor the seconds that other programs used; own ones on processor 1."""
        self.seconds += seconds
        self.own += own
        for number, used in {**others, 1: others.get(1, 0) + own}.items():
            self.busy[number] += used
        self._write()

    def _write(self) -> None:
        lines = ["cpu  1 2 3 4 5 6 7 8 9 10"]
        for number, busy in self.busy.items():
            user, idle = round(75 * busy), round(100 * (self.seconds - busy))
            nice, system = round(15 * busy), round(10 * busy)
            lines.append(f"cpu{number} {user} {nice} {system} {idle // 2} {idle - idle // 2} 0 0 0")
        self.stat.write_text("\n".join([*lines, "intr 5 0 1", "procs_running 3", ""]))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path / "stat")
    monkeypatch.setattr(cpu_load, "allowed_cpus", lambda: frozenset({0, 1, 2}))
    monkeypatch.setattr(cpu_load, "allowed_cores", lambda: 3)
    monkeypatch.setattr(cpu_load.time, "monotonic", lambda: machine.seconds)
    monkeypatch.setattr(cpu_load.time, "process_time", lambda: machine.own)
    return machine


def test_what_others_use_of_these_processors(machine: Machine) -> None:
    load = CpuLoad(machine.stat)
    assert load.free_cores() == 3
    machine.after(1, others={0: 1.0, 3: 1.0})
    assert load.free_cores() == pytest.approx(2, abs=0.05)
    machine.after(2, own=2, others={2: 1.0})
    assert load.free_cores() == pytest.approx(2.5, abs=0.05)
    machine.after(1, own=1, others={})
    assert load.free_cores() == pytest.approx(3, abs=0.05)


def test_an_interval_too_short_to_measure_keeps_what_was_measured(machine: Machine) -> None:
    load = CpuLoad(machine.stat)
    machine.after(0.01, others={0: 0.01})
    assert load.free_cores() == 3
    machine.after(0.99, others={0: 0.99})
    assert load.free_cores() == pytest.approx(2, abs=0.05)
    machine.after(0.01, others={})
    assert load.free_cores() == pytest.approx(2, abs=0.05)


def test_in_a_child_whose_own_time_begins_again(machine: Machine) -> None:
    machine.after(5, own=5, others={})
    load = CpuLoad(machine.stat)
    machine.own = 0
    machine.after(1, own=1, others={})
    assert load.free_cores() == 3
    machine.after(1, own=1, others={2: 1.0})
    assert load.free_cores() == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("text", [None, "", "cpu 1 2\n", "cpu0 x y z\n", "cpu0 1 2 3 4 5 6 7 8\n"])
def test_where_nothing_can_be_measured_others_are_quiet(machine: Machine, text: str | None) -> None:
    load = CpuLoad(machine.stat)
    machine.seconds += 1
    machine.stat.unlink()
    if text is not None:
        machine.stat.write_text(text)
    assert load.free_cores() == 3
    assert CpuLoad(machine.stat).free_cores() == 3
