"""Hostile model folders, texts and options, tried in child processes: see README.md beside.

python tests/field/fuzz.py --mutants 5000 --texts 5000 --option-sets 2000
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

KINDS = ("folder", "texts", "options")


@click.command()
@click.option("--mutants", type=click.IntRange(0), default=5000, show_default=True)
@click.option("--texts", type=click.IntRange(0), default=5000, show_default=True)
@click.option("--option-sets", type=click.IntRange(0), default=2000, show_default=True)
@click.option("--minutes", type=click.FloatRange(0), help="Begin no more trials after that.")
@click.option("--only", type=click.Choice(KINDS), help="One of the three.  [default: all]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the first trial.")
@click.option("--processes", type=click.IntRange(1), default=2, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0), default=10, show_default=True,
    help="A trial that computes for longer hangs.",
)  # fmt: skip
@click.option(
    "--folder", "folders", multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Model folder; may be repeated.  [default: a tiny model, and the bundled one]",
)  # fmt: skip
@click.option(
    "--keep", type=click.Path(file_okay=False, path_type=Path),
    help="Keep the first faults of every group here.",
)  # fmt: skip
def fuzz(
    mutants: int,
    texts: int,
    option_sets: int,
    minutes: float | None,
    only: str | None,
    seed: int,
    processes: int,
    seconds: float,
    folders: tuple[Path, ...],
    keep: Path | None,
) -> None:
    """Try hostile folders, texts and options; exit status 1 if any verdict is a fault."""
    # Here, because every child process imports this module again: it needs none of these.
    from field.fuzzing.campaign import CAMPAIGNS, Plan, keeps_access_times
    from field.fuzzing.pool import Pool
    from field.fuzzing.verdicts import Tally
    from helpers.paths import ROOT

    counts = dict(zip(KINDS, (mutants, texts, option_sets), strict=True))
    until = time.monotonic() + minutes * 60 if minutes is not None else float("inf")
    faults = 0
    with tempfile.TemporaryDirectory(prefix="tfm-fuzz-") as name:
        work = Path(name)
        if not keeps_access_times(work):
            click.echo(f"{work} keeps no access times: reads outside go unseen", err=True)
        if not folders:
            from helpers.tiny import write_tiny_folder

            write_tiny_folder(work / "tiny")
            folders = (work / "tiny", work / "tiny", ROOT / "models" / "zh-en")
        with Pool(processes, seconds, work) as pool:
            for kind, count in counts.items():
                if not count or only not in (None, kind):
                    continue
                (work / kind).mkdir()
                tally = Tally(keep)
                began = time.monotonic()
                CAMPAIGNS[kind](Plan(folders, seed, count, until, work / kind), pool, tally)
                total, took = tally.counts.total(), time.monotonic() - began
                click.echo(f"{kind}: {total} in {took:.0f} s, from seed {seed}")
                click.echo(tally.report())
                faults += tally.faults
    click.echo(f"{faults} faults")
    sys.exit(min(faults, 1))


if __name__ == "__main__":
    fuzz()
