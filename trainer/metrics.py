"""metrics.jsonl: one line of means per logged step, one line per validation."""

import contextlib
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfm.runtime.files.atomic import write_text

from .checkpoint import CheckpointFolder
from .training_state import TrainingState


def drop_after(path: Path, step: int, validated_step: int) -> None:
    """Drop the lines of steps after `step`, and of validations after `validated_step`: a resumed
    training writes them again."""
    if path.exists():
        lines = path.read_text("utf-8").splitlines(keepends=True)
        kept = (
            line
            for line in lines
            if _step_of(line) <= (validated_step if _is_of_validation(line) else step)
        )
        write_text(path, "".join(kept))


class MetricsLog(contextlib.AbstractContextManager["MetricsLog"]):
    """metrics.jsonl: means since the last line, whose sums are part of the state."""

    def __init__(
        self,
        folder: CheckpointFolder,
        state: TrainingState,
        *,
        writes: bool = True,
        tensorboard: bool = False,
        peak_tflops: float | None = None,
    ) -> None:
        """Of several processes, only one `writes`; the others only count. peak_tflops is what all
        their devices together could do, if that is known."""
        self.path = folder.metrics
        self._writes, self._peak_tflops = writes, peak_tflops
        self._flops = 0  # since the last line
        self._before = state.unlogged_tokens  # of an earlier process: not in this one's speed
        self._since = time.perf_counter()
        self._events = None
        if tensorboard and writes:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(folder.tensorboard, purge_step=state.step + 1)

    def __exit__(self, *_: object) -> None:
        if self._events is not None:
            self._events.close()

    def add(self, state: TrainingState, loss: float, tokens: int, flops: int) -> None:
        """Add a step's summed loss, in nats, and target tokens to the state, and count FLOPs."""
        state.unlogged_loss += loss
        state.unlogged_tokens += tokens
        self._flops += flops

    def write(self, state: TrainingState, rate: float) -> dict[str, Any]:
        """Write the means since the last line, set the sums to zero, and return the line."""
        now = time.perf_counter()
        elapsed = now - self._since
        tflops = self._flops / elapsed / 1e12
        line = {
            "step": state.step,
            "epoch": state.epoch,
            "loss": state.unlogged_loss / state.unlogged_tokens,
            "learning_rate": rate,
            "tokens_per_second": (state.unlogged_tokens - self._before) / elapsed,
            "tflops": tflops,
            **({} if self._peak_tflops is None else {"mfu": tflops / self._peak_tflops}),
            "seconds": state.seconds,
        }
        self.append(line)
        self._since, self._before, self._flops = now, 0, 0
        state.unlogged_loss, state.unlogged_tokens = 0.0, 0
        return line

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

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time of the block in the speeds."""
        began = time.perf_counter()
        yield
        self._since += time.perf_counter() - began


def _is_of_validation(line: str) -> bool:
    return '"validation_loss"' in line


def _step_of(line: str) -> float:
    """The step of a line of metrics.jsonl; infinity for a line that was cut short."""
    try:
        return float(json.loads(line)["step"])
    except json.JSONDecodeError:
        return math.inf
