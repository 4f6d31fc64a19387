"""Models that several test files share: each is made once per session."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import tiny
from helpers.models import MakeModel, NoVocabulary, Toy, ToyExport, random_model, tfm
from helpers.numerals import RECIPE, write_corpus
from helpers.workers import is_worker, made_once

from tfm.export import model_folder
from tfm.export.graphs.trace import Graphs, convert
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer

if is_worker():
    torch.set_num_threads(1)  # the other processes have the other processors


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """A Transformer with random weights from the keyword arguments of TransformerConfig."""
    return random_model


@pytest.fixture(scope="session")
def tiny_vocabulary() -> Vocabulary:
    return tiny.make_vocabulary()


@pytest.fixture(scope="session")
def tiny_model(tiny_vocabulary: Vocabulary) -> Transformer:
    return tiny.make_model(tiny_vocabulary)


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


@pytest.fixture(scope="session")
def pre_folder(
    pre_model: Transformer, pre_graphs: Graphs, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """pre_model as a model folder without a vocabulary, fp32."""
    folder = tmp_path_factory.mktemp("pre")
    model_folder.write_model_folder(pre_model, NoVocabulary(), pre_graphs, folder, ("fp32",), "pre")
    return folder


@pytest.fixture(scope="session")
def ssru_model() -> Transformer:
    """A decoder with SSRU in self-attention's place, pre-norm."""
    return random_model(
        seed=5,
        eos_bonus=3.5,
        source_vocab_size=45,
        target_vocab_size=70,
        d_model=32,
        d_ff=48,
        num_heads=4,
        encoder_layers=1,
        decoder_layers=2,
        norm="pre",
        decoder_autoregression="ssru",
    )


@pytest.fixture(scope="session")
def ssru_graphs(ssru_model: Transformer) -> Graphs:
    return convert(ssru_model)


@pytest.fixture(scope="session")
def ssru_folder(
    ssru_model: Transformer, ssru_graphs: Graphs, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """ssru_model as a model folder without a vocabulary, fp32 and int8."""
    folder = tmp_path_factory.mktemp("ssru")
    variants = ("fp32", "int8")
    model_folder.write_model_folder(
        ssru_model, NoVocabulary(), ssru_graphs, folder, variants, "ssru"
    )
    return folder


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    def make(folder: Path) -> Toy:
        unseen = write_corpus(folder, train=4000, held_out=500)
        (folder / "recipe.toml").write_text(RECIPE, "utf-8")
        checkpoint = folder / "checkpoint"
        before = torch.get_num_threads()
        recipe = str(folder / "recipe.toml")
        printed = tfm("train", recipe, "--out", str(checkpoint), "--threads", "1")
        torch.set_num_threads(before)
        return Toy(checkpoint, unseen, printed)

    return made_once(tmp_path_factory, "numerals", make)


@pytest.fixture(scope="session")
def toy_checkpoint(toy: Toy) -> Path:
    return toy.checkpoint


@pytest.fixture(scope="session")
def toy_export(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> ToyExport:
    def make(folder: Path) -> ToyExport:
        model = folder / "model"
        return ToyExport(model, tfm("export", str(toy.checkpoint), str(model)))

    return made_once(tmp_path_factory, "numerals-export", make)


@pytest.fixture(scope="session")
def toy_model(toy_export: ToyExport) -> Path:
    """The toy task's model folder, int8 and fp32."""
    return toy_export.folder


@pytest.fixture(scope="session")
def marian_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Marian model as transformers saves it."""
    from helpers import foreign  # transformers, which few tests need

    return foreign.marian(tmp_path_factory.mktemp("marian") / "theirs").folder


@pytest.fixture
def marian_folder(marian_original: Path, tmp_path: Path) -> Path:
    """A copy of it of the test's own, to damage."""
    return Path(shutil.copytree(marian_original, tmp_path / "folder"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in the order of one thread, whatever machine runs the tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
