"""The tiny model of the tests: random weights, a vocabulary of numerals, a model folder."""

import json
import shutil
from pathlib import Path

from tfm.export.graphs.trace import convert
from tfm.export.model_folder import write_model_folder
from tfm.trainer.config import VocabularyRecipe
from tfm.trainer.data.vocabulary import Vocabulary, train_vocabulary
from tfm.trainer.model import Transformer

from .models import random_model
from .numerals import LARGEST, chinese, english


def make_vocabulary() -> Vocabulary:
    """300 pieces a side, of Chinese numerals and English words."""
    numbers = range(0, LARGEST, 7)
    sources, targets = [chinese(n) for n in numbers], [english(n) for n in numbers]
    return train_vocabulary(sources, targets, VocabularyRecipe(size=300))


def make_model(vocabulary: Vocabulary, *, seed: int = 9, eos_bonus: float = 0.5) -> Transformer:
    """Post-norm, tied target embeddings, a vocabulary that is no multiple of 64."""
    sizes = (vocabulary.source.vocab_size(), vocabulary.target.vocab_size())
    assert sizes[1] % 64
    return random_model(
        seed=seed,
        eos_scale=3.0,
        eos_bonus=eos_bonus,
        source_vocab_size=sizes[0],
        target_vocab_size=sizes[1],
        d_model=32,
        d_ff=64,
        num_heads=4,
        encoder_layers=1,
        decoder_layers=2,
    )


def write_tiny_folder(folder: Path) -> None:
    """Write a model folder, int8 and fp32, whose translations differ in length."""
    vocabulary = make_vocabulary()
    model = make_model(vocabulary, seed=56)  # of 60, the one whose translations differ most
    folder.mkdir(parents=True, exist_ok=True)
    write_model_folder(model, vocabulary, convert(model), folder, ("fp32", "int8"), "tiny")


def write_tiny_multilingual_folder(folder: Path, tiny: Path) -> None:
    """The model folder `tiny` with two languages to write, each with a token of its own."""
    shutil.copytree(tiny, folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["languages"].update(language_token="source", language_ids={"en": 20, "fr": 21})
    config["languages"]["target"] = "en"
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
