"""What both toolkits train on: the same made-up sentences, and a configuration for each toolkit."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfm.trainer.checkpoint import MODEL, weights_of, write_config, write_weights
from tfm.trainer.config import PRESETS, TransformerConfig, VocabularyRecipe
from tfm.trainer.data.vocabulary import SPECIAL_IDS, train_vocabulary
from tfm.trainer.model import Transformer

from .errors import BenchError

MEDIAN_WORDS, SPREAD = 12.0, 0.28  # log-normal, with SIDES between the sides: as Multi30k's
SIDES = 0.12
SHORTEST, LONGEST = 3, 40  # words
WARMUP_STEPS, LOG_STEPS = 20, 10
START = "start"  # the checkpoint to train from, beside the corpora

Pairs = list[tuple[list[int], list[int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is trained, and for how long.

    Attributes:
        vocab_size: of the joint vocabulary, tied in all three places
        max_tokens: of a batch, padding included
        steps: measured ones, a multiple of LOG_STEPS; WARMUP_STEPS come before
        pairs: of the corpus
    """

    preset: str = "tiny"
    dropout: float = 0.1
    vocab_size: int = 10_000
    max_tokens: int = 4096
    steps: int = 60
    pairs: int = 29_000
    threads: int = 2

    def __post_init__(self) -> None:
        if self.steps < LOG_STEPS or self.steps % LOG_STEPS:
            raise BenchError(f"--steps {self.steps}: choose a multiple of {LOG_STEPS}")

    @property
    def all_steps(self) -> int:
        """Measured steps and warm-up steps together."""
        return WARMUP_STEPS + self.steps


@dataclass(frozen=True, slots=True)
class Material:
    """A written folder.

    Attributes:
        parameters: of our model
        tokens_per_target: mean, EOS included
    """

    folder: Path
    parameters: int
    tokens_per_target: float


def write_material(setting: Setting, folder: Path) -> Material:
    """Write corpora and a checkpoint with random weights into folder.

    JoeyNMT reads the same tokens, named t4, t5, ..., so that it only has to split lines at spaces.
    Of its two corpora `plain` has the order of ours, and `sorted` that of `by_length`.
    """
    generator = np.random.default_rng(0)
    texts = random_text(generator, setting.pairs, setting.vocab_size)
    sources, targets = ([pair[side] for pair in texts] for side in (0, 1))
    recipe = VocabularyRecipe(size=setting.vocab_size, algorithm="bpe", joint=True)
    vocabulary = train_vocabulary(sources, targets, recipe)
    size = vocabulary.source.vocab_size()
    config = TransformerConfig(
        source_vocab_size=size,
        target_vocab_size=size,
        dropout=setting.dropout,
        tied_embeddings="all",
        **PRESETS[setting.preset],
    )
    model = Transformer(config)
    start = folder / START
    start.mkdir()
    write_config(start, config)
    write_weights(start / MODEL, weights_of(model))
    vocabulary.save(start)

    _write_tsv(folder / "train.tsv", texts)
    _write_tsv(folder / "valid.tsv", texts[:8])
    ids = [vocabulary.source.encode(list(side)) for side in (sources, targets)]
    pairs: Pairs = list(zip(*ids, strict=True))
    names = [f"t{i}" for i in range(len(SPECIAL_IDS), size)]
    (folder / "tokens.txt").write_text("\n".join(names) + "\n", "utf-8")
    _write_tokens(folder / "plain", pairs)
    _write_tokens(folder / "sorted", by_length(pairs, setting.max_tokens, generator))
    _write_tokens(folder / "valid", pairs[:8])
    return Material(
        folder,
        sum(p.numel() for p in model.parameters()),
        float(np.mean([len(target) + 1 for _, target in pairs])),
    )


def random_text(generator: np.random.Generator, pairs: int, words: int) -> list[tuple[str, str]]:
    """Pairs of sentences of made-up words, whose frequencies are like those of real words."""
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    vocabulary: dict[str, None] = {}  # a dict keeps the order, a set would not
    while len(vocabulary) < words:
        vocabulary["".join(generator.choice(letters, generator.integers(2, 9)))] = None
    by_frequency = np.array(sorted(vocabulary, key=len))  # frequent words are short
    probabilities = 1 / (np.arange(words) + 2.7)
    probabilities /= probabilities.sum()
    lengths = generator.lognormal(np.log(MEDIAN_WORDS), SPREAD, pairs)
    sides = [
        (lengths * generator.normal(1, SIDES, pairs)).round().astype(int).clip(SHORTEST, LONGEST)
        for _ in range(2)
    ]
    drawn = [generator.choice(by_frequency, side.sum(), p=probabilities) for side in sides]
    rows = [_lines(words, side) for words, side in zip(drawn, sides, strict=True)]
    return list(zip(*rows, strict=True))


def _lines(words: NDArray[np.str_], lengths: NDArray[np.int64]) -> list[str]:
    return [" ".join(row) for row in np.split(words, np.cumsum(lengths)[:-1])]


def by_length(pairs: Pairs, max_tokens: int, generator: np.random.Generator) -> Pairs:
    """An order in which JoeyNMT, not shuffling, cuts batches of one length each.

    It goes through its corpus and ends a batch with the pair that brings pairs x longest side, EOS
    included, to max_tokens. Batches come in random order; a last one that is not full stays last.
    """
    shuffled = [pairs[i] for i in generator.permutation(len(pairs))]
    batches: list[Pairs] = [[]]
    for pair in sorted(shuffled, key=lambda pair: (max(map(len, pair)), len(pair[0]))):
        batches[-1].append(pair)
        if len(batches[-1]) * (max(map(len, pair)) + 1) >= max_tokens:
            batches.append([])
    *full, last = batches
    return [pair for i in generator.permutation(len(full)) for pair in full[i]] + last


def write_recipe(setting: Setting, path: Path, seed: int) -> None:
    """For `tfm train`, in the material's folder."""
    path.write_text(
        f"""[model]
preset = "{setting.preset}"
dropout = {setting.dropout}
tied_embeddings = "all"
[vocabulary]
joint = true
[data]
[[data.train]]
path = "train.tsv"
[data.validation]
path = "valid.tsv"
[training]
max_steps = {setting.all_steps}
max_tokens = {setting.max_tokens}
label_smoothing = 0.1
precision = "fp32"
device = "cpu"
seed = {seed}
log_steps = {LOG_STEPS}
validate_steps = {setting.all_steps}
validation_max_sentences = 1
validation_max_length = 1
""",
        "utf-8",
    )


def write_joeynmt_config(
    setting: Setting, material: Material, path: Path, out: Path, seed: int, *, ordered: bool
) -> None:
    """The same for `joeynmt train`: its own order of sentences, or if `ordered` ours by length."""
    shape = PRESETS[setting.preset]
    stack = {
        "type": "transformer",
        "num_heads": shape["num_heads"],
        "embeddings": {"embedding_dim": shape["d_model"], "scale": True},
        "hidden_size": shape["d_model"],
        "ff_size": shape["d_ff"],
        "dropout": setting.dropout,
        "layer_norm": "post",
    }
    side = {"level": "word", "voc_file": str(material.folder / "tokens.txt")}
    config: dict[str, Any] = {
        "name": "bench",
        "model_dir": str(out),
        "use_cuda": False,
        "random_seed": seed,
        "data": {
            "train": str(material.folder / ("sorted" if ordered else "plain")),
            "dev": str(material.folder / "valid"),
            "dataset_type": "plain",
            "src": {"lang": "source", **side},
            "trg": {"lang": "target", **side},
        },
        "testing": {},
        "training": {
            "optimizer": "adam",
            "adam_betas": [0.9, 0.98],
            "scheduling": "noam",
            "learning_rate_warmup": 4000,
            "learning_rate_min": 0.0,
            "clip_grad_norm": 1.0,
            "normalization": "tokens",
            "label_smoothing": 0.1,
            "batch_type": "token",
            "batch_size": setting.max_tokens,
            "shuffle": not ordered,
            "epochs": 1_000_000,
            "updates": setting.all_steps,
            "logging_freq": LOG_STEPS,
            "validation_freq": 1000 * LOG_STEPS * setting.all_steps,
        },
        "model": {
            "tied_embeddings": True,
            "tied_softmax": True,
            "encoder": {**stack, "num_layers": shape["encoder_layers"]},
            "decoder": {**stack, "num_layers": shape["decoder_layers"]},
        },
    }
    path.write_text(json.dumps(config, indent=2), "utf-8")  # JSON is YAML


def _write_tsv(path: Path, texts: Sequence[tuple[str, str]]) -> None:
    path.write_text("".join(f"{s}\t{t}\n" for s, t in texts), "utf-8")


def _write_tokens(stem: Path, pairs: Pairs) -> None:
    for suffix, side in (("source", 0), ("target", 1)):
        lines = (" ".join(f"t{i}" for i in pair[side]) + "\n" for pair in pairs)
        stem.with_name(f"{stem.name}.{suffix}").write_text("".join(lines), "utf-8")
