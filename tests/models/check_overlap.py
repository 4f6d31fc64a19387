"""Whether sentences of test sets are in what a model was trained on.

    python tests/models/check_overlap.py RECIPE.toml TEST.tsv...

Compared are letters and digits alone, in any case, full width made half. For every test set the
table has the lines whose source, whose target, and whose pair is in the training text, and the
lines that share a run of nine words of the English side with it. What augmentations make of the
text is left out: it adds names and numbers, not sentences.
"""

import re
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click

from tfm.trainer.config import load_recipe
from tfm.trainer.data.corpora import read_pairs

RUN = 9  # words


@dataclass(slots=True)
class TestSet:
    """The lines of a test set, by what is looked for in the training text."""

    name: str
    rows: list[tuple[str, str]]
    sources: dict[str, list[int]]
    targets: dict[str, list[int]]
    runs: dict[tuple[str, ...], list[int]]


@click.command()
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument(
    "tests", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--show", is_flag=True, help="Write the lines that were found, too.")
def command(recipe: Path, tests: tuple[Path, ...], show: bool) -> None:
    """Compare the corpora of RECIPE with TESTS, each a .tsv of Chinese and English."""
    sets = [_read(path) for path in tests]
    found: dict[str, dict[str, set[int]]] = {
        test.name: {kind: set() for kind in ("source", "target", "pair", "run")} for test in sets
    }
    count = 0
    for source, target in _training_text(recipe):
        count += 1
        for test in sets:
            hits = found[test.name]
            sources = set(test.sources.get(source, ()))
            targets = set(test.targets.get(target, ()))
            hits["source"] |= sources
            hits["target"] |= targets
            hits["pair"] |= sources & targets
            for run in _runs(target):
                hits["run"] |= set(test.runs.get(run, ()))
    click.echo(f"{count} pairs of {recipe.name}\n")
    click.echo("| test set | lines | Chinese | English | both | nine words |")
    click.echo("|---|--:|--:|--:|--:|--:|")
    for test in sets:
        hits = found[test.name]
        numbers = " | ".join(str(len(hits[kind])) for kind in ("source", "target", "pair", "run"))
        click.echo(f"| {test.name} | {len(test.rows)} | {numbers} |")
    if show:
        for test in sets:
            for index in sorted(set().union(*found[test.name].values())):
                click.echo("\t".join((test.name, *test.rows[index])), err=True)


def _read(path: Path) -> TestSet:
    rows = [tuple(line.split("\t")[:2]) for line in path.read_text("utf-8").splitlines()]
    test = TestSet(path.name, rows, {}, {}, {})  # type: ignore[arg-type]
    for index, (source, target) in enumerate(rows):
        test.sources.setdefault(_plain(source), []).append(index)
        test.targets.setdefault(_plain(target), []).append(index)
        for run in _runs(_plain(target)):
            test.runs.setdefault(run, []).append(index)
    return test


def _training_text(recipe: Path) -> Iterator[tuple[str, str]]:
    """Chinese and English of every pair, each file read once."""
    seen = set()
    for corpus in load_recipe(recipe).data.train:
        if corpus.path in seen or corpus.augmentation is not None:
            continue
        seen.add(corpus.path)
        for source, target, _ in read_pairs(replace(corpus, weight=1.0, reverse=False)):
            yield _plain(source), _plain(target)


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"[^\W_]+", folded))


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    words = text.split()
    for start in range(len(words) - RUN + 1):
        yield tuple(words[start : start + RUN])


if __name__ == "__main__":
    sys.exit(command())
