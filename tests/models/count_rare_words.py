"""Which common words of a language few sentences of some corpora hold.

    pip install wordfreq jieba
    python tests/models/count_rare_words.py zh CORPUS...

For whoever writes sentences to train on: `--show` lists the words, commonest first. wordfreq, which
knows large corpora, says how common a word is.
"""

import re
from collections import Counter
from pathlib import Path

import click

from tfm.trainer.data.corpora import read_pairs
from tfm.trainer.data.recipe import CorpusRecipe

WORDS = {"zh": re.compile("[\u4e00-\u9fff]+"), "en": re.compile("[a-z]{3,}")}


@click.command()
@click.argument("language", type=click.Choice(list(WORDS)))
@click.argument("corpora", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--words", default=12_000, show_default=True, help="How many of the commonest.")
@click.option("--below", default=15, show_default=True, help="Sentences that are enough.")
@click.option("--show", is_flag=True, help="List the words with their sentences.")
def command(language: str, corpora: tuple[Path, ...], words: int, below: int, show: bool) -> None:
    """Count the common words of LANGUAGE in CORPORA, each a .tsv of Chinese and English."""
    import jieba
    import wordfreq

    found: Counter[str] = Counter()
    for path in corpora:
        for chinese, english, _ in read_pairs(CorpusRecipe(path=path)):
            told = jieba.cut(chinese) if language == "zh" else WORDS["en"].findall(english.lower())
            found.update(set(told))
    common = wordfreq.top_n_list(language, 2 * words)
    common = [word for word in common if WORDS[language].fullmatch(word)][:words]
    rare = [word for word in common if found[word] < below]
    if show:
        for word in rare:
            click.echo(f"{word}\t{found[word]}")
    click.echo(f"{len(rare)} of {len(common)} words are in fewer than {below} sentences", err=True)


if __name__ == "__main__":
    command()
