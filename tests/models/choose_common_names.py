"""The best-known names of a list, for recipes that show them more often than the others.

    pip install wordfreq jieba
    python tests/models/choose_common_names.py trainer/recipes/zh-en/names.tsv COMMON.tsv

wordfreq, which knows large corpora, says how common a name is: as common as the rarer of its two
forms.
"""

from collections import defaultdict
from pathlib import Path

import click

SHARES = {"place": 800, "person": 450, "nature": 250, "company": 150, "institution": 100}

Row = tuple[str, str, str]


@click.command()
@click.argument("names", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
def command(names: Path, output: Path) -> None:
    """Write the commonest of NAMES, rows of Chinese name, English name and kind, to OUTPUT."""
    from wordfreq import zipf_frequency

    found: dict[str, list[tuple[float, Row]]] = defaultdict(list)
    for line in names.read_text("utf-8").splitlines():
        chinese, english, kind = line.split("\t")
        known = min(
            zipf_frequency(chinese.replace("·", ""), "zh"),
            zipf_frequency(english.removeprefix("the "), "en"),
        )
        found[kind].append((known, (chinese, english, kind)))
    rows = [
        row
        for kind, share in SHARES.items()
        for _, row in sorted(found[kind], key=lambda pair: -pair[0])[:share]
    ]
    output.write_text("".join("\t".join(row) + "\n" for row in rows), "utf-8")


if __name__ == "__main__":
    command()
