"""The memory of a process over time: sampled, judged and drawn."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

WARM_UP = 500  # requests until every thread has its buffers
LARGEST_GROWTH = 0.05


@dataclass(frozen=True)
class Sample:
    """The resident memory of this process, in MiB, after a number of requests."""

    requests: int
    mebibytes: float


def sample(requests: int) -> Sample:
    """The memory now."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return Sample(requests, pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20))


def growth(samples: Sequence[Sample]) -> float:
    """How much the memory grew after the first 500 requests, as a part of what it was then.

    The median of the last fifth of the samples after them, over the median of the first fifth,
    less one: a buffer that comes and goes moves neither, a leak moves the last.
    """
    later = [one.mebibytes for one in samples if one.requests > WARM_UP]
    if len(later) < 5:
        raise ValueError(f"{len(later)} samples after {WARM_UP} requests: too few to judge")
    fifth = len(later) // 5
    return median(later[-fifth:]) / median(later[:fifth]) - 1


def draw(samples: Sequence[Sample], title: str, path: Path) -> None:
    """Write a picture of the memory over the requests."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3.2), dpi=100)
    axes.plot(
        [one.requests for one in samples], [one.mebibytes for one in samples], color="#0b5cad"
    )
    axes.axvline(WARM_UP, color="#999999", linewidth=0.8, linestyle="--")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.set_xlabel("requests")
    axes.set_ylabel("resident memory, MiB")
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
