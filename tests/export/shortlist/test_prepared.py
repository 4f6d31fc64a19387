"""Model folders with a shortlist: graph and steps, batch mates, options, and the way back."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tfm.export.formats.read_model_folder import unpack
from tfm.export.graphs.trace import Graphs
from tfm.export.model_folder import write_model_folder
from tfm.export.quantization.calibrate import layer_inputs, random_sources
from tfm.export.shortlist.low_rank import LowRankProjection
from tfm.export.shortlist.output_layer import OUTPUT_LAYER
from tfm.export.shortlist.prepared import PreviewShortlist
from tfm.export.shortlist.preview import CANDIDATES
from tfm.export.torch_reference import TorchDecoder
from tfm.runtime import Translator
from tfm.runtime.candidates import Candidates, best_candidates
from tfm.runtime.config import ModelConfig
from tfm.runtime.options import DecodingOptions
from tfm.runtime.search import search
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer

RANK = 12
VARIANTS = ("fp32", "int8")


@pytest.fixture(scope="module")
def shortlist(tiny_model: Transformer, tiny_graphs: Graphs) -> PreviewShortlist:
    rows = layer_inputs(tiny_model, random_sources(tiny_model.config, 3))[OUTPUT_LAYER].numpy()
    return PreviewShortlist.fit(tiny_graphs, rows, RANK)


@pytest.fixture(scope="module")
def folder(
    tiny_model: Transformer,
    tiny_vocabulary: Vocabulary,
    tiny_graphs: Graphs,
    shortlist: PreviewShortlist,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    path = tmp_path_factory.mktemp("listed")
    write_model_folder(
        tiny_model, tiny_vocabulary, tiny_graphs, path, VARIANTS, "listed", shortlist=shortlist
    )
    return path


@pytest.fixture(scope="module")
def sources(tiny_model: Transformer) -> list[list[int]]:
    config = tiny_model.config
    rows = [random_sources(config, 8, length) for length in (3, 11, 19)]
    return [[*ids, config.eos_id] for group in rows for ids in group]


class Listed(TorchDecoder):
    """PyTorch's logits where the preview has its best, and the preview elsewhere."""

    def __init__(
        self, model: Transformer, sources: list[list[int]], preview: LowRankProjection
    ) -> None:
        super().__init__(model, sources)
        self._preview = preview
        self._weight = model.projection.weight.detach().numpy().astype(np.float64)

    def step(
        self, target_ids: np.ndarray, beam_origin: np.ndarray, scores: np.ndarray
    ) -> Candidates:
        exact = self.step_logits(target_ids, beam_origin)
        # The model has no bias, so the hidden state follows from the logits.
        flat = exact.reshape(-1, exact.shape[2])
        hidden = np.linalg.lstsq(self._weight, flat.T.astype(np.float64), rcond=None)[0].T
        previewed = self._preview.logits(np.asarray(hidden, np.float32))
        best = np.argsort(-previewed, axis=1)[:, :CANDIDATES]
        np.put_along_axis(previewed, best, np.take_along_axis(flat, best, axis=1), axis=1)
        return best_candidates(previewed.reshape(exact.shape).astype(np.float32), scores)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_translations_are_those_of_the_rule_in_numpy(
    folder: Path,
    tiny_model: Transformer,
    shortlist: PreviewShortlist,
    sources: list[list[int]],
    beam_size: int,
) -> None:
    options = DecodingOptions(beam_size=beam_size, max_length=12)
    translator = Translator(folder, device="cpu", variant="fp32")
    found = translator.translate_ids(sources, options)
    config = tiny_model.config
    expected = search(
        Listed(tiny_model, sources, shortlist.preview),
        len(sources),
        options,
        bos_id=config.bos_id,
        eos_id=config.eos_id,
    )
    same = [a[0].ids == b[0].ids for a, b in zip(found, expected, strict=True)]
    # The graph's preview is in 8 bits: at its edge another token may be a candidate.
    assert np.mean(same) >= 0.9


def test_a_poor_preview_changes_translations(
    folder: Path, tiny_folder: Path, sources: list[list[int]]
) -> None:
    """Or else the test before shows nothing."""
    whole, listed = (
        Translator(path, device="cpu", variant="fp32").translate_ids(sources, max_length=12)
        for path in (tiny_folder, folder)
    )
    assert [h[0].score for h in whole] != [h[0].score for h in listed]


@pytest.mark.parametrize("variant", VARIANTS)
def test_graph_and_steps_are_one(
    folder: Path, sources: list[list[int]], variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = Translator(folder, device="cpu", variant=variant)
    by_graph = translator.translate_ids(sources, max_length=12)
    monkeypatch.setattr(translator._tokens, "_always_by_steps", True)
    by_steps = translator.translate_ids(sources, max_length=12)
    assert [h[0].ids for h in by_graph] == [h[0].ids for h in by_steps]
    np.testing.assert_allclose(
        [h[0].score for h in by_graph], [h[0].score for h in by_steps], rtol=1e-5
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_batch_mates_change_nothing(folder: Path, sources: list[list[int]], variant: str) -> None:
    translator = Translator(folder, device="cpu", variant=variant)
    together = translator.translate_ids(sources, max_length=12)
    for ids, hypotheses in zip(sources[::5], together[::5], strict=True):
        (alone,) = translator.translate_ids([ids], max_length=12)
        assert alone[0].ids == hypotheses[0].ids


def test_rules_on_logits_reach_every_token(folder: Path, sources: list[list[int]]) -> None:
    """More tokens are suppressed than a row has candidates."""
    translator = Translator(folder, device="cpu", variant="fp32")
    size = translator.config.architecture.target_vocab_size
    allowed = {translator.config.special_ids.eos_id, size - 1, size - 2, 5}
    forbidden = [token for token in range(size) if token not in allowed]
    for options in ({}, {"no_repeat_ngram_size": 3}):  # by the graph, and by steps
        found = translator.translate_ids(
            sources[:4], suppress_ids=forbidden, beam_size=1, max_length=6, min_length=2, **options
        )
        assert {i for h in found for i in h[0].ids} <= allowed
        assert all(len(h[0].ids) >= 2 and np.isfinite(h[0].score) for h in found)


def test_a_forced_prefix_needs_no_candidate(folder: Path, tiny_vocabulary: Vocabulary) -> None:
    translator = Translator(folder, device="cpu", variant="int8")
    for beam_size in (1, 2):
        found = translator.translate(
            "七", target_prefix="seven thousand", beam_size=beam_size, max_length=5
        )
        assert found.hypotheses[0].text.startswith("seven thousand")


@pytest.mark.parametrize("variants", [("fp32",), ("int8",)])
def test_the_weights_come_back(
    tiny_model: Transformer,
    tiny_vocabulary: Vocabulary,
    tiny_graphs: Graphs,
    shortlist: PreviewShortlist,
    tmp_path: Path,
    variants: tuple[str, ...],
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    write_model_folder(
        tiny_model, tiny_vocabulary, tiny_graphs, folder, variants, "m", shortlist=shortlist
    )
    model, _ = unpack(folder)
    for name, value in tiny_model.state_dict().items():
        tolerance = 1e-5 if variants == ("fp32",) else float(value.abs().max()) / 60
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=tolerance)


def test_config_says_which_shortlist(folder: Path, tiny_folder: Path) -> None:
    assert ModelConfig.load(folder).shortlist == "preview"
    assert ModelConfig.load(tiny_folder).shortlist == "none"


def test_both_decoders_have_it(tiny_graphs: Graphs, shortlist: PreviewShortlist) -> None:
    made = shortlist.apply(dataclasses.replace(tiny_graphs))
    for decoder in (made.decoder, made.greedy_decoder):
        assert any(tensor.name == "shortlist.table.int8" for tensor in decoder.graph.initializer)
    assert made.encoder is tiny_graphs.encoder
