"""How fast the service is under load, beside LibreTranslate's way on the same engine.

    python tests/runtime/serve/compare_load.py [--requests 2000] [--connections 32] [--rounds 3]
        [--threads 2] [--beam-size 4]

Both services run at the same time, and are asked in turns. For each it prints medians over the
rounds: requests a second, the seconds within which half and 95 % of the requests were answered, and
the processor's seconds that the service itself took for 1,000 requests, which other programs on
the machine change least.
"""

import os
import statistics
import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[2]))

from helpers.load import Load, mixed_texts, send
from helpers.paths import ROOT
from helpers.service import RunningService, running_service

SERIAL = str(Path(__file__).with_name("one_text_at_a_time.py"))


def cpu_seconds(service: RunningService) -> float:
    """Of the service's process so far."""
    fields = Path(f"/proc/{service.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@click.command()
@click.option("--requests", default=2000, show_default=True)
@click.option("--connections", default=32, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--beam-size", default=4, show_default=True)
def main(requests: int, connections: int, rounds: int, threads: int, beam_size: int) -> None:
    """Compare."""
    sentences = (ROOT / "tests" / "bench" / "sentences" / "zh.txt").read_text("utf-8").split()
    texts = mixed_texts(sentences, requests)
    arguments = ("-m", "zh-en", "--threads", str(threads), "--beam-size", str(beam_size))
    arguments += ("--log", "off")
    with (
        running_service(*arguments) as batched,
        running_service(*arguments, program=(SERIAL,)) as serial,
    ):
        services = {"tfm serve": batched, "one text at a time": serial}
        measured: dict[str, list[tuple[Load, float]]] = {name: [] for name in services}
        for service in services.values():
            send(service, texts[:200], connections)
        for _ in range(rounds):
            for name, service in services.items():
                before = cpu_seconds(service)
                load = send(service, texts, connections)
                measured[name].append((load, cpu_seconds(service) - before))
        sizes = batched.metric("tfm_sentences_total") / batched.metric("tfm_batch_sentences_count")
    first = measured["tfm serve"][0][0].answers
    for runs in measured.values():
        for load, _ in runs:
            assert load.errors == [], load.errors[:3]
            assert load.answers == first
    click.echo(
        f"{requests} requests, {connections} connections, {threads} threads, beam {beam_size}"
    )
    for name, runs in measured.items():
        rate = statistics.median(requests / load.wall for load, _ in runs)
        half, most = (
            1000 * statistics.median(load.percentile(share) for load, _ in runs)
            for share in (0.5, 0.95)
        )
        cpu = 1000 * statistics.median(cpu for _, cpu in runs) / requests
        click.echo(
            f"{name:20} {rate:7.1f} requests/s  p50 {half:6.0f} ms  p95 {most:6.0f} ms"
            f"  {cpu:6.2f} CPU s per 1000"
        )
    click.echo(f"sentences in a batch of tfm serve: {sizes:.1f}")


if __name__ == "__main__":
    main()
