"""Whether lines of several sentences come out whole, and better than when they are one line.

    python tests/models/score_documents.py MODEL PAIRS.tsv

Each line joins two to six sentences of a development set that end with a full stop and have none
within, as a reader sees it, so their number is known. It is translated as a document, as one line,
and sentence by sentence.
"""

import random
import re
import sys
from pathlib import Path

import click
import sacrebleu

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.field_scores import read_dev

from tfm.runtime import Translator
from tfm.runtime.commands.model_argument import ModelPath
from tfm.runtime.documents import parse_text

_ONE_SENTENCE = {
    "zh": re.compile(r"[^。！？!?；…\n]{3,60}[。！？]"),
    "en": re.compile(r"(?![a-z])[^.!?…:;\n]{8,160}[.!?]"),
}


@click.command()
@click.argument("model", type=ModelPath())
@click.argument("pairs", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--count", type=click.IntRange(1), default=2000, show_default=True)
def command(model: Path, pairs: Path, count: int) -> None:
    """Measure MODEL on PAIRS, a .tsv of Chinese and English."""
    translator = Translator(model, device="cpu")
    source, target = translator.config.languages.source, translator.config.languages.target
    one = _ONE_SENTENCE[source]
    rows = [row for row in read_dev(pairs, source, 1_000_000) if one.fullmatch(row[0])]
    rng = random.Random(1)
    lines = [[rng.choice(rows) for _ in range(rng.randint(2, 6))] for _ in range(count)]
    alone = dict(
        zip(
            (text for text, _ in rows),
            (t.text for t in translator.translate_batch(text for text, _ in rows)),
            strict=True,
        )
    )
    between = " " if source == "en" else ""
    joint = " " if target == "en" else ""
    texts = [between.join(text for text, _ in line) for line in lines]
    references = [joint.join(reference for _, reference in line) for line in lines]
    right = sum(
        len(parse_text(text, source, target).segments) == len(line)
        for text, line in zip(texts, lines, strict=True)
    )
    whole = translator.translate_document("\n".join(texts)).text.split("\n")
    as_line = [translation.text for translation in translator.translate_batch(texts)]
    apart = [joint.join(alone[text] for text, _ in line) for line in lines]
    click.echo(
        f"{count} lines of {sum(map(len, lines))} sentences, from {len(rows)} of {pairs.name}"
    )
    click.echo(f"lines with as many sentences found as they have: {right}")
    click.echo(f"document equal to its sentences translated alone: "
               f"{sum(a == b for a, b in zip(whole, apart, strict=True))}")  # fmt: skip
    for name, found in (("document", whole), ("sentences alone", apart), ("one line", as_line)):
        click.echo(f"chrF, {name}: {sacrebleu.corpus_chrf(found, [references]).score:.1f}")


if __name__ == "__main__":
    command()
