"""Whether the installed `tfm run` says the first everyday phrases right, in both directions.

python tests/models/check_phrases.py        # needs nothing but tfm

Exit status 1 where one of them is wrong.
"""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.field_sets import PHRASES_OF_CI, read_phrases


def main() -> int:
    """Print each sentence and its translation; returns the exit status."""
    wrong = 0
    for source, target in (("zh", "en"), ("en", "zh")):
        rows = read_phrases()[:PHRASES_OF_CI]
        sentences = [row.sentence(source) for row in rows]
        done = subprocess.run(
            ["tfm", "run", "-m", f"{source}-{target}"],
            input="\n".join(sentences) + "\n",
            stdout=subprocess.PIPE,
            encoding="utf-8",
            check=True,
        )
        for row, sentence, found in zip(rows, sentences, done.stdout.splitlines(), strict=True):
            right = row.is_right(found, target)
            wrong += not right
            print(f"{sentence}\t{found}{'' if right else '   <- wrong'}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
