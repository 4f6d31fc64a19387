"""The exported graphs and the search against CTranslate2 and PyTorch, on the same weights."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from helpers.ctranslate2_reference import Reference

from tfm.runtime.config import ModelConfig
from tfm.runtime.search import ScoredIds, SearchOptions, search
from tfm.runtime.sessions import Model
from tfm.trainer.data.batches import pad
from tfm.trainer.model import Transformer

SCORE = 1e-4  # float32 sums in another order
SENTENCES = 25
GRID = [
    SearchOptions(
        beam_size=beam_size,
        num_hypotheses=num_hypotheses,
        length_penalty=length_penalty,
        max_length=max_length,
    )
    for beam_size, num_hypotheses, length_penalty, max_length in itertools.product(
        (1, 2, 4, 5), (1, 2, 4), (0.0, 0.6, 1.0, 2.0), (1, 2, 5, 20)
    )
    if num_hypotheses <= beam_size
]


class Ours:
    """One model folder's fp32 graphs, on ids: translate.onnx, or the runtime's search by steps."""

    def __init__(self, folder: Path, by_steps: bool) -> None:
        self.by_steps = by_steps
        self.config = ModelConfig.load(folder)
        self.model = Model.open(folder, self.config, device="cpu", variant="fp32", intra_threads=1)

    def translate(self, sources: list[list[int]], options: SearchOptions) -> list[list[ScoredIds]]:
        if not self.by_steps:
            return self.model.translate(sources, options)
        state = self.model.encode(sources, options.beam_size)
        ids = self.config.special_ids
        return search(state, len(sources), options, bos_id=ids.bos_id, eos_id=ids.eos_id)


@pytest.fixture(
    scope="module", params=itertools.product(["tiny", "pre"], ["translate", "steps"]), ids=str
)
def setup(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Transformer, Ours, Reference]:
    name, path = request.param
    model = request.getfixturevalue(f"{name}_model")
    ours = Ours(request.getfixturevalue(f"{name}_folder"), path == "steps")
    return model, ours, Reference(model, tmp_path_factory.mktemp("ctranslate2") / "model")


def random_sources(model: Transformer, seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    config = model.config
    return [
        [*rng.integers(4, config.source_vocab_size, rng.integers(1, 14)).tolist(), config.eos_id]
        for _ in range(SENTENCES)
    ]


def test_sequences_and_scores_are_ctranslate2s(
    setup: tuple[Transformer, Ours, Reference],
) -> None:
    model, ours, reference = setup
    sources = random_sources(model, 1)
    compared = ties = early = longer = 0
    for options in GRID:
        expected = reference.translate(
            sources,
            beam_size=options.beam_size,
            num_hypotheses=options.num_hypotheses,
            length_penalty=options.length_penalty,
            max_length=options.max_length,
        )
        for theirs, found in zip(expected, ours.translate(sources, options), strict=True):
            assert len(theirs) == len(found) == options.num_hypotheses
            for (ids, score), hypothesis in zip(theirs, found, strict=True):
                # Equal scores are asked for even where two hypotheses changed places.
                assert hypothesis.score == pytest.approx(score, abs=SCORE), options
                compared += 1
                ties += ids != hypothesis.ids
                early += len(ids) < options.max_length
                longer += len(ids) > 2
    assert ties <= compared / 1000
    # Neither only cut off nor only empty: both would agree for no good reason.
    assert early > compared / 4
    assert longer > compared / 4


def test_greedy_is_pytorchs_token_for_token(setup: tuple[Transformer, Ours, Reference]) -> None:
    model, ours, _ = setup
    sources = [ids for seed in range(4) for ids in random_sources(model, seed)]
    expected = model.greedy(pad(sources, model.config.pad_id), 20)
    found = ours.translate(sources, SearchOptions(beam_size=1, max_length=20))
    assert [list(hypotheses[0].ids) for hypotheses in found] == expected
    lengths = {len(ids) for ids in expected}
    assert len(lengths) > 5


def test_a_beam_wider_than_the_vocabulary(setup: tuple[Transformer, Ours, Reference]) -> None:
    model, ours, _ = setup
    beam_size = model.config.target_vocab_size + 10
    options = SearchOptions(beam_size=beam_size, num_hypotheses=3, max_length=3)
    for hypotheses in ours.translate(random_sources(model, 2)[:2], options):
        assert len({found.ids for found in hypotheses}) == 3
