"""A toy training that takes a second: words of letters to translate into their capitals."""

import random
from pathlib import Path

RECIPE = """
[model]
preset = "tiny"
d_model = 16
d_ff = 16
num_heads = 2
encoder_layers = 1
decoder_layers = 1
dropout = 0.2

[vocabulary]
size = 275

[data]
[[data.train]]
path = "train.tsv"
weight = 1.5

[data.validation]
path = "valid.tsv"

[training]
max_steps = 14
max_tokens = 130
accumulate_steps = 2
learning_rate = 1e-2
warmup_steps = 5
device = "cpu"
precision = "fp32"
log_steps = 1
validate_steps = 5
validation_max_sentences = 3
validation_max_length = 8
average_checkpoints = 2
"""


def write_corpus(folder: Path) -> None:
    """Write train.tsv, 60 words, and valid.tsv, ten others."""
    letters = random.Random(0)
    words = ["".join(letters.choices("abcdef", k=letters.randint(1, 6))) for _ in range(70)]
    for name, chosen in (("train", words[:60]), ("valid", words[60:])):
        lines = "".join(f"{word}\t{word.upper()}\n" for word in chosen)
        (folder / f"{name}.tsv").write_text(lines, "utf-8")
