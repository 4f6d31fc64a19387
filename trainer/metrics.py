"""metrics.jsonl: one line of means per logged step, one line per validation."""

import contextlib
import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

from .checkpoint import METRICS, TENSORBOARD, Progress, write_text


def drop_after(path: Path, step: int) -> None:
    """Drop the lines of steps after `step`: a resumed training writes them again."""
    if path.exists():
        lines = path.read_text("utf-8").splitlines(keepends=True)
        write_text(path, "".join(line for line in lines if _step_of(line) <= step))


class MetricsLog(contextlib.AbstractContextManager["MetricsLog"]):
    """metrics.jsonl: means since the last line, whose sums are part of the progress."""

    def __init__(
        self, folder: Path, progress: Progress, *, writes: bool = True, tensorboard: bool = False
    ) -> None:
        """Of several processes, only one `writes`; the others only count."""
        self.path = folder / METRICS
        self._writes = writes
        self._before = progress.unlogged_tokens  # of an earlier process: not in this one's speed
        self._since = time.perf_counter()
        self._events = None
        if tensorboard and writes:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(folder / TENSORBOARD, purge_step=progress.step + 1)

    def __exit__(self, *_: object) -> None:
        if self._events is not None:
            self._events.close()

    def add(self, progress: Progress, loss: float, tokens: int) -> Progress:
        """Count a step's summed loss, in nats, and target tokens."""
        return dataclasses.replace(
            progress,
            unlogged_loss=progress.unlogged_loss + loss,
            unlogged_tokens=progress.unlogged_tokens + tokens,
        )

    def write(self, progress: Progress, rate: float) -> tuple[dict[str, Any], Progress]:
        """Write the means since the last line; returns the line, and the sums at zero."""
        elapsed = time.perf_counter() - self._since
        line = {
            "step": progress.step,
            "epoch": progress.epoch,
            "loss": progress.unlogged_loss / progress.unlogged_tokens,
            "learning_rate": rate,
            "tokens_per_second": (progress.unlogged_tokens - self._before) / elapsed,
            "seconds": progress.seconds,
        }
        self.append(line)
        self._before = 0
        self.restart_clock()
        return line, dataclasses.replace(progress, unlogged_loss=0.0, unlogged_tokens=0)

    def append(self, line: dict[str, Any]) -> None:
        """Write one line."""
        if not self._writes:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._events is not None:
            for key, value in line.items():
                if key != "step" and isinstance(value, (int, float)):
                    self._events.add_scalar(key, value, line["step"])

    def restart_clock(self) -> None:
        """Leave what happened since the last line out of tokens_per_second."""
        self._since = time.perf_counter()


def _step_of(line: str) -> float:
    """The step of a line of metrics.jsonl; infinity for one that a kill cut short."""
    try:
        return float(json.loads(line)["step"])
    except json.JSONDecodeError:
        return math.inf
