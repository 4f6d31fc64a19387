"""How well doubts tell bad translations from good ones.

python tests/models/score_doubts.py zh-en dev.tsv

The quarter of the sentences with the lowest chrF counts as bad. AUC is the probability that of a
bad and a good one the bad one is the more doubtful; 0.5 is chance. Precision is how many of the
doubted ones are bad; a quarter is chance.
"""

import sys
from pathlib import Path

import click
import sacrebleu

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.field_scores import area_under_curve, read_dev

from tfm.runtime import Translator
from tfm.runtime.commands.model_argument import ModelPath
from tfm.runtime.doubts import DOUBTS, TranslatedSentence


@click.command()
@click.argument("model", type=ModelPath())
@click.argument("pairs", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--count", type=click.IntRange(4), default=2000, show_default=True)
@click.option("--beam-size", type=click.IntRange(1), default=4, show_default=True)
def command(model: Path, pairs: Path, count: int, beam_size: int) -> None:
    """Measure the doubts about MODEL's translations of PAIRS, a .tsv of Chinese and English."""
    translator = Translator(model, device="cpu")
    languages = translator.config.languages
    rows = read_dev(pairs, languages.source or "", count)
    sentences = [source for source, _ in rows]
    translations = translator.translate_batch(sentences, beam_size=beam_size)
    lengths = [len(ids) for ids in translator.tokenizer.encode(sentences)]
    penalty = translator.options.length_penalty
    tokens = [translation.hypotheses[0].tokens for translation in translations]
    unattended = translator._pairs.unattended(sentences, tokens)
    measured = [
        TranslatedSentence(
            t.source, t.hypotheses[0], length, languages.target or "", penalty, share
        )
        for t, length, share in zip(translations, lengths, unattended, strict=True)
    ]
    scores = [
        sacrebleu.sentence_chrf(t.text, [reference]).score
        for t, (_, reference) in zip(translations, rows, strict=True)
    ]
    limit = sorted(scores)[len(scores) // 4]
    is_bad = [score < limit for score in scores]
    click.echo(f"{len(rows)} sentences; bad: chrF below {limit:.1f}\n")
    click.echo("| doubt | AUC | doubted | precision |\n|---|--:|--:|--:|")
    for name, doubt in DOUBTS.items():
        values = [doubt.measure(sentence) for sentence in measured]
        doubted = [bad for value, bad in zip(values, is_bad, strict=True) if value >= doubt.limit]
        precision = f"{100 * sum(doubted) / len(doubted):.0f} %" if doubted else "-"
        auc = area_under_curve(values, is_bad)
        click.echo(f"| {name} | {auc:.2f} | {len(doubted)} | {precision} |")


if __name__ == "__main__":
    command()
