"""Many threads, many requests, one process: equal answers and flat memory. See README.md beside.

python tests/field/soak.py --requests 10000 --threads 8
"""

import itertools
import logging
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from field.fuzzing import memory
from field.fuzzing.workload import Subject, Workload
from helpers.numerals import chinese
from helpers.paths import ROOT

CHINESE = (
    *(
        "我爱你。",
        "我想喝一杯茶。",
        "他每天早上六点起床。",
        "你叫什么名字？",
        "今天天气很好。",
        "",
        "嗯",
        "42",
    ),
    "如果明天下雨，我们就不去公园，而是在家里看一部很长的老电影。",
    "今天早上我和我的朋友一起去公园散步，然后我们在一家小饭馆吃了午饭。",
)
ENGLISH = ("I would like a cup of tea.", "Good morning!", "", "He gets up at six every day.", "x")


def soak(
    workload: Workload,
    requests: int,
    threads: int,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[list[str], list[memory.Sample]]:
    """Let threads ask, each its own requests.

    Returns:
        what was answered otherwise than alone, and a sample of the memory every hundredth part
    """
    differences: list[str] = []
    samples = [memory.sample(0)]
    every = max(1, requests // 200)
    counter, lock = itertools.count(1), threading.Lock()

    def ask(number: int) -> None:
        difference = workload.difference(workload.draw(random.Random(seed * requests + number)))
        with lock:
            done = next(counter)
            if difference is not None:
                differences.append(difference)
            if done % every == 0:
                samples.append(memory.sample(done))
                progress(done)

    with ThreadPoolExecutor(threads) as executor:
        for future in [executor.submit(ask, number) for number in range(requests)]:
            future.result()
    return differences, samples


@click.command()
@click.option("--requests", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=8, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw the memory here."
)
def command(requests: int, threads: int, seed: int, picture: Path | None) -> None:
    """Ask four models from many threads; exit status 1 for another answer or growing memory."""
    from helpers.tiny import write_tiny_folder, write_tiny_multilingual_folder

    from tfm.runtime import Translator

    def load(folder: Path) -> Translator:
        return Translator(folder, device="cpu", intra_threads=1)

    logging.getLogger("tfm").setLevel(logging.ERROR)  # that translations were cut is no news
    with tempfile.TemporaryDirectory(prefix="tfm-soak-") as name:
        tiny, multilingual = Path(name) / "tiny", Path(name) / "multilingual"
        write_tiny_folder(tiny)
        write_tiny_multilingual_folder(multilingual, tiny)
        numerals = [chinese(number) for number in range(0, 9999, 999)]
        of_languages = load(multilingual)
        workload = Workload(
            [
                Subject(load(tiny), None, numerals),
                Subject(of_languages, "en", numerals),
                Subject(of_languages, "fr", numerals),
                Subject(load(ROOT / "models" / "zh-en"), None, CHINESE),
                Subject(load(ROOT / "models" / "en-zh"), None, ENGLISH),
            ]
        )
        began = time.monotonic()
        differences, samples = soak(workload, requests, threads, seed)
    took = time.monotonic() - began
    click.echo(f"{requests} requests by {threads} threads in {took:.0f} s")
    for difference in differences[:10]:
        click.echo(f"  differs: {difference}")
    grown = memory.growth(samples)
    peak = max(one.mebibytes for one in samples)
    click.echo(f"{len(differences)} answers differ from those alone")
    click.echo(f"memory: {peak:.0f} MiB at most, {100 * grown:+.1f} % after the warm-up")
    if picture is not None:
        title = (
            f"{requests} requests by {threads} threads: {100 * grown:+.1f} % after the first 500"
        )
        memory.draw(samples, title, picture)
    sys.exit(bool(differences) or grown > memory.LARGEST_GROWTH)


if __name__ == "__main__":
    command()
