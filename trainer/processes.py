"""Several processes, started by torchrun, that share one training.

An update is `accumulate_steps` batches whatever the number of processes: they share them out, add
up their gradients, and each takes the same step. So the recipe alone says what is trained, and a
training can be resumed by more or fewer processes.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from .errors import LocalError, TrainError

T = TypeVar("T")
WAIT = timedelta(hours=12)  # for a main process that tokenizes or validates


class ProcessLostError(LocalError):
    """Another process of the training ended."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of a training; alone, everything here does nothing."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0  # on this machine: which CUDA device is its own

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return self.rank == 0

    def shard(self, batches: Sequence[T]) -> list[tuple[int, T]]:
        """Which of an update's batches are this process's, with their indices among all."""
        return list(enumerate(batches))[self.rank :: self.count]

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """Run the block in the main process first; the others wait, and end if it fails."""
        if self.count == 1:
            yield
        elif self.is_main:
            done = False
            try:
                yield
                done = True
            finally:
                self.broadcast(done)
        else:
            yield
            if not self.broadcast(True):
                raise SystemExit(1)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """The block succeeds in every process, or fails in every one.

        Raises:
            TrainError: that of the first process that has one
        """
        error = None
        try:
            yield
        except TrainError as caught:
            if self.count == 1:
                raise
            error = caught
        if self.count > 1:
            errors: list[str | None] = [None] * self.count
            with _lost():
                dist.all_gather_object(errors, None if error is None else str(error))
            for rank, message in enumerate(errors):
                if message is not None:
                    where = f"process {rank}: " if rank else ""
                    raise TrainError(f"{where}{message}") from error

    def all_reduce_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Let every process have the sum of all gradients; None counts as zeros."""
        if self.count == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        with _lost():
            dist.all_reduce(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def broadcast_weights(self, tensors: Sequence[Tensor]) -> None:
        """Let every process have the main process's tensors."""
        if self.count > 1:
            with _lost():
                for tensor in tensors:
                    dist.broadcast(tensor, src=0)

    def all_reduce_sum(self, value: float) -> float:
        """The sum of every process's value, in double precision."""
        if self.count == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        with _lost():
            dist.all_reduce(total)
        return float(total)

    def all_reduce_max(self, value: int) -> int:
        """The largest of every process's values."""
        if self.count == 1:
            return value
        tensor = torch.tensor(value)
        with _lost():
            dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return int(tensor)

    def broadcast(self, value: T) -> T:
        """The main process's value, once it has come this far too."""
        if self.count == 1:
            return value
        values = [value]
        with _lost():
            dist.broadcast_object_list(values, src=0)
        return values[0]


@contextlib.contextmanager
def join_processes() -> Iterator[Processes]:
    """Join the processes that torchrun started, or be alone.

    Raises:
        TrainError: torchrun's environment is there, and the others are not
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    try:
        dist.init_process_group(_backend(), timeout=WAIT)
    except (RuntimeError, ValueError) as error:
        raise TrainError(
            f"the processes of this training do not find each other: {error}"
        ) from error
    try:
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        yield Processes(dist.get_rank(), dist.get_world_size(), local_rank)
    finally:
        dist.destroy_process_group()


def _backend() -> str:
    """gloo for the tensors of CPUs, and NCCL beside it for those of CUDA. Left to itself, torch
    takes only what is best for the gradients, and counts and files' states go by the CPU."""
    if torch.cuda.is_available() and dist.is_nccl_available():
        return "cpu:gloo,cuda:nccl"
    return "gloo"


@contextlib.contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        raise ProcessLostError(f"another process of this training ended ({reason})") from error
