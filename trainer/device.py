"""Where a training computes: the device, and the memory of a CPU."""

import ctypes
import sys

import torch

from .config import TrainingRecipe
from .errors import TrainError

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h
_NEVER = 2**31 - 1


def choose_device(options: TrainingRecipe, local_rank: int = 0) -> torch.device:
    """The device that the recipe asks for; of several CUDA devices, each process its own.

    Raises:
        TrainError: there is no such device
    """
    wanted = options.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise TrainError("device = 'cuda', but torch finds no CUDA device; use 'auto' or 'cpu'")
    if local_rank >= torch.cuda.device_count():
        raise TrainError(
            f"process {local_rank} of this machine has no CUDA device of its own: there are "
            f"{torch.cuda.device_count()}; start as many processes"
        )
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device


def keep_freed_memory() -> None:
    """Let this process keep the memory that tensors leave, for the next ones (glibc only).

    By default every tensor of some megabytes is new pages from the kernel, zeroed and given back
    some milliseconds later: a quarter of a step's time on a CPU.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_MAX, 0)
            libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
