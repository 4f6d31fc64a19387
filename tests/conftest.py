"""Models that several test files share: each is made once per session."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from numerals import LARGEST, RECIPE, chinese, english, write_corpus

from tfm.export import model_folder
from tfm.export.convert import Graphs, convert
from tfm.runtime.cli import cli
from tfm.trainer.config import ModelConfig, VocabularyRecipe
from tfm.trainer.model import Transformer
from tfm.trainer.vocabulary import Vocabulary, train_vocabulary

MakeModel = Callable[..., Transformer]


def random_model(
    *,
    seed: int = 0,
    eos_scale: float = 1.0,
    eos_bonus: float = 2.0,
    **config: Any,
) -> Transformer:
    """Every parameter random, biases and norms too: at their usual 0 and 1 they hide mistakes.

    eos_scale and eos_bonus are to make hypotheses end, some early and some late.
    """
    torch.manual_seed(seed)
    model = Transformer(ModelConfig(dropout=0.0, **config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
        pre = model.config.norm == "pre"
        last = model.decoder_norm if pre else model.decoder_layers[-1].feed_forward_residual.norm
        eos = model.projection.weight[model.config.eos_id]
        eos.mul_(eos_scale)
        last.get_parameter("bias").add_(eos * (eos_bonus / eos.dot(eos)))
    return model


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """A Transformer with random weights from the keyword arguments of ModelConfig."""
    return random_model


@pytest.fixture(scope="session")
def tiny_vocabulary() -> Vocabulary:
    numbers = range(0, LARGEST, 7)
    recipe = VocabularyRecipe(size=300)
    sources, targets = [chinese(n) for n in numbers], [english(n) for n in numbers]
    return train_vocabulary(sources, targets, recipe)


@pytest.fixture(scope="session")
def tiny_model(tiny_vocabulary: Vocabulary) -> Transformer:
    """Post-norm, tied target embeddings, a vocabulary that is no multiple of 64."""
    sizes = (tiny_vocabulary.source.vocab_size(), tiny_vocabulary.target.vocab_size())
    assert sizes[1] % 64
    return random_model(
        seed=9,
        eos_scale=3.0,
        eos_bonus=0.5,
        source_vocab_size=sizes[0],
        target_vocab_size=sizes[1],
        d_model=32,
        d_ff=64,
        num_heads=4,
        encoder_layers=1,
        decoder_layers=2,
    )


@pytest.fixture(scope="session")
def tiny_graphs(tiny_model: Transformer) -> Graphs:
    return convert(tiny_model)


@pytest.fixture(scope="session")
def tiny_folder(
    tiny_model: Transformer,
    tiny_vocabulary: Vocabulary,
    tiny_graphs: Graphs,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """tiny_model as a model folder, fp32 and int8."""
    folder = tmp_path_factory.mktemp("tiny")
    variants = ("fp32", "int8")
    model_folder.write_model_folder(
        tiny_model, tiny_vocabulary, tiny_graphs, folder, variants, "tiny"
    )
    return folder


@pytest.fixture(scope="session")
def pre_model() -> Transformer:
    """Pre-norm, nothing tied, fewer than 64 tokens, a d_model that int8 leaves alone."""
    return random_model(
        seed=11,
        eos_bonus=1.5,
        source_vocab_size=45,
        target_vocab_size=50,
        d_model=24,
        d_ff=48,
        num_heads=2,
        encoder_layers=1,
        decoder_layers=2,
        norm="pre",
        tied_embeddings="none",
    )


@pytest.fixture(scope="session")
def pre_graphs(pre_model: Transformer) -> Graphs:
    return convert(pre_model)


class NoVocabulary(Vocabulary):
    """For a model that only ever sees ids."""

    def __init__(self) -> None:
        self.source = self.target = None

    def save(self, folder: Path) -> None:
        (folder / "source.spm").write_bytes(b"")


@pytest.fixture(scope="session")
def pre_folder(
    pre_model: Transformer, pre_graphs: Graphs, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """pre_model as a model folder without a vocabulary, fp32."""
    folder = tmp_path_factory.mktemp("pre")
    model_folder.write_model_folder(pre_model, NoVocabulary(), pre_graphs, folder, ("fp32",), "pre")
    return folder


@dataclass(frozen=True)
class Toy:
    """What `tfm train` and `tfm export` made of the numerals, and numbers they never saw."""

    checkpoint: Path
    unseen: list[int]
    trained: Result


@dataclass(frozen=True)
class ToyExport:
    """The model folder that `tfm export` wrote, and what it printed."""

    folder: Path
    exported: Result


def tfm(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output[-1000:]
    return result


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    folder = tmp_path_factory.mktemp("numerals")
    unseen = write_corpus(folder, train=4000, held_out=500)
    (folder / "recipe.toml").write_text(RECIPE, "utf-8")
    checkpoint = folder / "checkpoint"
    before = torch.get_num_threads()
    recipe = str(folder / "recipe.toml")
    result = tfm("train", recipe, "--out", str(checkpoint), "--threads", "2")
    torch.set_num_threads(before)
    return Toy(checkpoint, unseen, result)


@pytest.fixture(scope="session")
def toy_checkpoint(toy: Toy) -> Path:
    return toy.checkpoint


@pytest.fixture(scope="session")
def toy_export(toy: Toy) -> ToyExport:
    folder = toy.checkpoint.parent / "model"
    return ToyExport(folder, tfm("export", str(toy.checkpoint), str(folder)))


@pytest.fixture(scope="session")
def toy_model(toy_export: ToyExport) -> Path:
    """The toy task's model folder, int8 and fp32."""
    return toy_export.folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in the order of one thread, whatever machine runs the tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
