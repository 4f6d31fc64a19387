"""How well a model's cross-attention aligns words: a table for its card.

    python tests/models/score_alignment.py MODEL PAIRS.tsv

Heads are chosen on every second line of source<TAB>target, and measured on the others: the share of
words that both sides have (names, numbers, code) whose largest weight is in their own place.
"""

import sys
from pathlib import Path

from tfm.export.evaluation.alignment import aligned_share, choose_heads, find_shared_words
from tfm.runtime import Translator
from tfm.runtime.alignment_heads import AlignmentHeads, default_heads
from tfm.runtime.bundled import find_model
from tfm.runtime.tokenizer import Tokenizer


def main(model: str, pairs: str) -> None:
    """Print the table."""
    folder = find_model(model)
    rows = [line.split("\t")[:2] for line in Path(pairs).read_text("utf-8").splitlines()]
    with Translator(folder) as translator:
        config, sessions = translator.config, translator.sessions
        if config.languages.source == "en":  # the corpora have Chinese first
            rows = [row[::-1] for row in rows]
        tokenizer = Tokenizer(folder, config)
        halves = [tuple(zip(*rows[start::2], strict=True)) for start in (0, 1)]
        choice = choose_heads(config, sessions, tokenizer, *halves[0])
        words = list(find_shared_words(config, sessions, tokenizer, *halves[1]))
    shape = config.architecture
    table = {"default": default_heads(shape.decoder_layers, shape.num_heads)}
    if choice is not None:
        table["chosen on the other half"] = choice.heads
    if config.alignment is not None:
        table["config.json's"] = config.alignment
    for layer in range(shape.decoder_layers):
        for head in range(shape.num_heads):
            for later in (False, True):
                name = f"layer {layer}, head {head}, {'next' if later else 'same'} step"
                table[name] = AlignmentHeads(layer=layer, heads=(head,), from_next_step=later)
    print(f"{len(words)} words of {len(halves[1][0])} pairs\n")
    print("| heads | aligned |\n|---|--:|")
    for name, heads in table.items():
        detail = f" (layer {heads.layer}, heads {', '.join(map(str, heads.heads))}"
        detail += f"{', next step' if heads.from_next_step else ''})"
        print(f"| {name}{'' if 'layer' in name else detail} | {aligned_share(words, heads):.1%} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
