"""Where and how a training computes: the device, its precision, and the memory of a CPU."""

import ctypes
import sys
import time

import torch

from .config import TrainingRecipe, TransformerConfig
from .errors import TrainError
from .model import EncoderLayer

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h
_NEVER = 2**31 - 1


def choose_device(options: TrainingRecipe, local_rank: int = 0) -> torch.device:
    """The device that the recipe asks for; of several CUDA devices, each process its own.

    Raises:
        TrainError: there is no such device
    """
    name = options.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
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


def faster_precision(config: TransformerConfig, device: torch.device) -> str:
    """ "bf16" or "fp32", whichever gets an encoder layer forward and backward sooner.

    A CPU's features do not tell: with the same AVX512-BF16, some are faster in bf16 and some
    slower. On CUDA it is bf16 where the GPU itself has it: so small a trial would not show it.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    layer = EncoderLayer(config)
    x = torch.randn(16, 32, config.d_model, requires_grad=True)
    bias = torch.zeros(16, 1, 1, 32)
    times: dict[str, list[float]] = {"bf16": [], "fp32": []}
    for _ in range(4):  # in turns, so that both see the same machine; the first warms up
        for precision, taken in times.items():
            started = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = layer(x, bias).float().square().sum()
            loss.backward()
            taken.append(time.perf_counter() - started)
    return min(times, key=lambda precision: min(times[precision][1:]))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory for a tensor."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "can't allocate memory" in str(error)  # a CPU's is a plain RuntimeError
    )


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
