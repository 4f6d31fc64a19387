"""What terms and placeholders do to translations of real lines.

    python tests/models/score_required.py MODEL PAIRS.tsv

Terms: of each line a word of the reference that the translation lacks must be in it. Placeholders:
one is put between two characters or words of each line, at random; scored is the text around
it, against the translation of the line without one.
"""

import random
import re
import sys
from pathlib import Path

import click
import sacrebleu

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.field_scores import read_dev

from tfm.runtime import PlaceholderPatterns, Translator
from tfm.runtime.commands.model_argument import ModelPath

PLACEHOLDERS = ("{name}", "%s", "<b>", "https://example.org/a?b=1", "a.b@example.org", "😀", "4711")
WORSE = 5.0  # points of a sentence's chrF


@click.command()
@click.argument("model", type=ModelPath())
@click.argument("pairs", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--count", type=click.IntRange(1), default=500, show_default=True)
def command(model: Path, pairs: Path, count: int) -> None:
    """Measure MODEL on PAIRS, a .tsv of Chinese and English."""
    translator = Translator(model, device="cpu")
    rows = read_dev(pairs, translator.config.languages.source, count)
    sources, references = [source for source, _ in rows], [target for _, target in rows]
    plain = [t.text for t in translator.translate_batch(sources, placeholders=None)]
    click.echo(f"{len(rows)} lines\n")
    _terms(translator, sources, references, plain)
    _placeholders(translator, sources, references, plain)


def _terms(
    translator: Translator, sources: list[str], references: list[str], plain: list[str]
) -> None:
    rng = random.Random(1)
    chosen, before, after, wanted, unmet = 0, [], [], [], 0
    spaced = translator.config.languages.target != "zh"
    for source, reference, text in zip(sources, references, plain, strict=True):
        pattern = r"[^\W\d_]{4,}" if spaced else r"[\u4e00-\u9fff]{2}"
        words = [word for word in re.findall(pattern, reference) if word not in text]
        if not words:
            continue
        found = translator.translate(source, terms={source: rng.choice(words)})
        chosen, unmet = chosen + 1, unmet + bool(found.unmet)
        before.append(text)
        after.append(found.text)
        wanted.append(reference)
    click.echo(f"terms: {chosen} lines, {chosen - unmet} met; chrF {_chrf(before, wanted):.1f}"
               f" without, {_chrf(after, wanted):.1f} with")  # fmt: skip


def _placeholders(
    translator: Translator, sources: list[str], references: list[str], plain: list[str]
) -> None:
    patterns = PlaceholderPatterns()
    usual = [sacrebleu.sentence_chrf(t, [r]).score for t, r in zip(plain, references, strict=True)]
    click.echo(f"placeholders: chrF {_chrf(plain, references):.1f} of the lines without one\n")
    click.echo("| placeholder | kept, not asked for | kept | chrF around it | sentences worse |")
    click.echo("|---|--:|--:|--:|--:|")
    for placeholder in PLACEHOLDERS:
        rng = random.Random(2)
        marked = [_inserted(source, placeholder, rng) for source in sources]
        free = [t.text for t in translator.translate_batch(marked, placeholders=None)]
        made = [t.text for t in translator.translate_batch(marked, placeholders=patterns)]
        kept = [
            [patterns.are_kept(source, text) for source, text in zip(marked, texts, strict=True)]
            for texts in (free, made)
        ]
        around = [" ".join(text.replace(placeholder, " ").split()) for text in made]
        scores = [
            sacrebleu.sentence_chrf(t, [r]).score for t, r in zip(around, references, strict=True)
        ]
        worse = sum(b < a - WORSE for a, b in zip(usual, scores, strict=True))
        shares = [100 * sum(values) / len(values) for values in kept]
        click.echo(
            f"| `{placeholder}` | {shares[0]:.1f} % | {shares[1]:.1f} % |"
            f" {_chrf(around, references):.1f} | {100 * worse / len(around):.0f} % |"
        )


def _inserted(source: str, placeholder: str, rng: random.Random) -> str:
    places = [match.end() for match in re.finditer(r"[\u4e00-\u9fff]|\w+\b", source)]
    place = rng.choice(places) if places else len(source)
    left = " " if source[place - 1 : place].isascii() else ""
    right = (
        " " if source[place : place + 1].isascii() and source[place : place + 1].isalnum() else ""
    )
    return f"{source[:place]}{left}{placeholder}{right}{source[place:]}"


def _chrf(texts: list[str], references: list[str]) -> float:
    return float(sacrebleu.corpus_chrf(texts, [references]).score)


if __name__ == "__main__":
    command()
