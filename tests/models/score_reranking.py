"""What the reverse model's opinion gains: BLEU and chrF with and without reranking.

python tests/models/score_reranking.py dev.tsv
"""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.field_scores import read_dev

from tfm.runtime import Reranker, Translator
from tfm.runtime.reranking import DEFAULT_WEIGHT
from tfm.trainer.bleu import score

DIRECTIONS = ("zh-en", "en-zh")


@click.command()
@click.argument("pairs", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--weight", "weights", type=float, multiple=True, default=[DEFAULT_WEIGHT])
@click.option("--count", type=click.IntRange(1), default=100_000, help="Lines, evenly spaced.")
def command(pairs: Path, weights: tuple[float, ...], count: int) -> None:
    """Score both bundled models on PAIRS, a .tsv of Chinese and English."""
    translators = {name: Translator(name, device="cpu") for name in DIRECTIONS}
    click.echo("| model | weight | BLEU | chrF |\n|---|--:|--:|--:|")
    for name, other in (DIRECTIONS, DIRECTIONS[::-1]):
        source, target = name.split("-")
        rows = read_dev(pairs, source, count)
        references = [reference for _, reference in rows]
        plain = translators[name].translate_batch([text for text, _ in rows], num_hypotheses=4)
        for weight in (0.0, *weights):
            ordered = Reranker(translators[other], weight).rerank(plain, source, target)
            scores = score([translation.text for translation in ordered], references, target)
            click.echo(f"| {name} | {weight:g} | {scores.bleu:.1f} | {scores.chrf:.1f} |")


if __name__ == "__main__":
    command()
