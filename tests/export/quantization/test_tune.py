"""Tuning: the fewest products in float that keep the loss within bounds, and what is reported."""

import copy
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest
import torch
from helpers.numerals import chinese

from tfm.export import model_folder
from tfm.export.errors import ExportError
from tfm.export.graphs.trace import Graphs, convert
from tfm.export.model_folder import export_checkpoint
from tfm.export.quantization import tune as quality
from tfm.export.quantization.tune import Development, Trial, tune
from tfm.runtime import Translator
from tfm.trainer.bleu import Scores
from tfm.trainer.checkpoint import MODEL, weights_of, write_config, write_weights
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer

SENTENCES = [chinese(n) for n in (0, 7, 10, 42, 305, 512, 1234, 4006, 7890, 9999)]
PLANTED = "decoder/layers.0.layer.feed_forward.outer"


class Fake:
    """Stands for writing and translating: a variant's chrF by the number of products kept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, chrf: list[float]) -> None:
        self.tried: list[tuple[str, list[str]]] = []
        self.ranked = 0
        self.chrf = chrf
        monkeypatch.setattr(quality, "_trial", self.trial)

    def trial(
        self, variant: str, kept: list[str], _write: object, folder: Path, _dev: Development
    ) -> Trial:
        self.tried.append((variant, kept))
        chrf = 60.0 if variant == "fp32" else self.chrf[len(kept)]
        return Trial(folder, kept, Scores(0, chrf, "", ""))

    def tune(self, max_loss: float | None, products: int = 12) -> dict[str, Trial]:
        def write(_folder: Path, _variant: str, _kept: Collection[str]) -> None: ...

        def rank(_variant: str) -> Sequence[str]:
            self.ranked += 1
            return [f"product {i}" for i in range(products)]

        development = Development(["a"], ["b"], max_loss)
        return tune(["int8", "fp32"], write, rank, Path(), development)


@pytest.mark.parametrize(
    ("chrf", "max_loss", "kept"),
    [
        ([59.9], 0.2, 0),
        ([61.0], 0.0, 0),  # better than fp32
        ([50.0], None, 0),  # measured only
        ([59.0, 59.9], 0.2, 1),
        ([58.0, 59.5, 59.85], 0.2, 2),
    ],
)
def test_the_first_that_is_good_enough(
    chrf: list[float], max_loss: float | None, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Fake(monkeypatch, chrf)
    trials = fake.tune(max_loss)
    names = [f"product {i}" for i in range(12)]
    assert trials["int8"].kept_float == names[:kept]
    assert fake.tried == [("fp32", []), *(("int8", names[:n]) for n in range(kept + 1))]
    assert fake.ranked == (kept > 0)  # ranking takes long


def test_a_quarter_in_float_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(monkeypatch, [58.0, 59.0, 59.1, 59.25, 60.0])
    match = r"^int8 loses 0\.75 chrF against fp32, more than 0\.20, even with its 3 most"
    with pytest.raises(ExportError, match=match) as raised:
        fake.tune(0.2)
    assert "\n" not in str(raised.value)
    assert len(fake.tried) == 1 + 4


@pytest.fixture(scope="module")
def planted_model(tiny_model: Transformer) -> Transformer:
    """tiny_model's function, with a neuron so large that int8 leaves nothing of the others."""
    planted = copy.deepcopy(tiny_model)
    network = planted.decoder_layers[0].feed_forward
    with torch.no_grad():
        network.inner.weight[5] *= 3000
        network.inner.bias[5] *= 3000
        network.outer.weight[:, 5] /= 3000
    return planted


@pytest.fixture(scope="module")
def planted_graphs(planted_model: Transformer) -> Graphs:
    return convert(planted_model)


@pytest.fixture
def planted(
    planted_model: Transformer,
    planted_graphs: Graphs,
    tiny_vocabulary: Vocabulary,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Path:
    """Its checkpoint."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    tiny_vocabulary.save(folder)
    write_config(folder, planted_model.config)
    write_weights(folder / MODEL, weights_of(planted_model))
    monkeypatch.setattr(model_folder, "convert", lambda _model: planted_graphs)
    return folder


@pytest.fixture(scope="module")
def references(tiny_folder: Path) -> list[str]:
    """What fp32 writes, so that it scores 100."""
    translator = Translator(tiny_folder, device="cpu", variant="fp32")
    return [translation.text for translation in translator.translate_batch(SENTENCES)]


def test_the_planted_product_is_kept(
    planted: Path, references: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The planted product ruins int8 so thoroughly that verification would refuse it anyway.
    monkeypatch.setattr("tfm.export.evaluation.verify.LEAST_CHRF", 0.0)
    free = Development(SENTENCES, references)
    found = export_checkpoint(planted, tmp_path / "free", ["int8"], SENTENCES, None, free)
    quality = found["int8"].quality
    assert quality is not None
    assert quality.kept_float == []
    assert quality.chrf_loss == pytest.approx(100 - quality.scores.chrf, abs=0.01)
    assert quality.speed > 0
    size = sum(path.stat().st_size for path in (tmp_path / "free" / "int8").iterdir())
    assert quality.megabytes == pytest.approx(size / 1e6)

    strict = Development(SENTENCES, references, quality.chrf_loss / 2)
    found = export_checkpoint(planted, tmp_path / "strict", ["int8"], SENTENCES, None, strict)
    tuned = found["int8"].quality
    assert tuned is not None
    assert tuned.kept_float[0] == PLANTED
    assert tuned.chrf_loss <= quality.chrf_loss / 2
    assert tuned.megabytes > quality.megabytes
    assert [path.name for path in (tmp_path / "strict").iterdir() if path.is_dir()] == ["int8"]
