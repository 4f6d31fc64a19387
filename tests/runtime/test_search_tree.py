"""The tree of a search: PyTorch has its scores, and nobody who looks on changes the search."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tfm.runtime import Translator
from tfm.runtime.decode import beams
from tfm.runtime.options import DecodingOptions
from tfm.runtime.search import ScoredIds
from tfm.runtime.search_tree import Fate, SearchTree, search_with_tree
from tfm.trainer.model import Transformer

SOURCE = [9, 21, 5, 40, 3]
PREFIX = (11, 8)
CASES: list[dict[str, Any]] = [
    {"beam_size": 1},
    {"beam_size": 3},
    {"beam_size": 4, "num_hypotheses": 4, "patience": 2.0},
    {"beam_size": 3, "length_penalty": 0},
    {"beam_size": 2, "max_length": 4},
    {"beam_size": 3, "min_length": 6, "no_repeat_ngram_size": 1},
    {"beam_size": 3, "min_length": 8, "max_length_factor": 0.5},
]


@pytest.fixture(scope="module")
def translator(tiny_folder: Path) -> Translator:
    return Translator(tiny_folder, variant="fp32", intra_threads=1)


def searched(
    translator: Translator, options: DecodingOptions, prefix: tuple[int, ...] = ()
) -> tuple[list[ScoredIds], SearchTree]:
    ids = translator.config.special_ids
    return search_with_tree(
        translator.sessions.encode([SOURCE], beams(options)),
        SOURCE,
        options,
        bos_id=ids.bos_id,
        eos_id=ids.eos_id,
        target_prefix=prefix,
    )


@torch.no_grad()
def log_probs(model: Transformer, tokens: tuple[int, ...]) -> torch.Tensor:
    """Of what comes after these tokens, [V]."""
    read = torch.tensor([[model.config.bos_id, *tokens]])
    return model(torch.tensor([SOURCE]), read)[0, -1].log_softmax(dim=0)


@pytest.mark.parametrize("changes", CASES)
def test_looking_on_changes_nothing(translator: Translator, changes: dict[str, Any]) -> None:
    options = DecodingOptions(**{"max_length": 12, **changes})
    found, tree = searched(translator, options)
    assert found == translator.translate_ids([SOURCE], options)[0]
    eos_id = translator.config.special_ids.eos_id
    for hypothesis in found:
        path = tree.path(hypothesis.ids, eos_id)
        end = tree.steps[len(path) - 1][path[-1]]
        assert (end.fate, end.final_score) == (Fate.FINISHED, hypothesis.score)
        assert tree.tokens(path) in (hypothesis.ids, (*hypothesis.ids, eos_id))
    with pytest.raises(ValueError, match="finished no hypothesis"):
        tree.path([1, 2, 3], eos_id)


@pytest.mark.parametrize("prefix", [(), PREFIX])
@pytest.mark.parametrize("size", [1, 3])
def test_pytorch_has_the_same_tree(
    tiny_model: Transformer, translator: Translator, size: int, prefix: tuple[int, ...]
) -> None:
    """The candidates of each step are the best extensions of what was kept in the step before."""
    options = DecodingOptions(beam_size=size, max_length=7)
    _, tree = searched(translator, options, prefix)
    assert tree.prefix == prefix
    kept: dict[tuple[int, ...], float] = {(): 0.0}
    for step, nodes in enumerate(tree.steps):
        extensions = {
            (*before, token): score + value
            for before, score in kept.items()
            for token, value in enumerate(log_probs(tiny_model, (*prefix, *before)).tolist())
        }
        best = sorted(extensions, key=lambda tokens: -extensions[tokens])[: 2 * size]
        lines = [tree.tokens(tree.line(step, place)) for place in range(len(nodes))]
        assert lines == best
        assert [node.score for node in nodes] == pytest.approx(
            [extensions[tokens] for tokens in best], abs=1e-4
        )
        before = [0.0 if n.parent is None else tree.steps[step - 1][n.parent].score for n in nodes]
        assert [n.log_prob + b for n, b in zip(nodes, before, strict=True)] == pytest.approx(
            [node.score for node in nodes], abs=1e-5
        )
        if step + 1 < len(tree.steps):
            ends = [node.token == translator.config.special_ids.eos_id for node in nodes]
            going_on = [place for place, end in enumerate(ends) if not end][:size]
            for place, node in enumerate(nodes):
                finished = ends[place] and place < size
                fate = Fate.KEPT if place in going_on else Fate.DROPPED
                assert node.fate is (Fate.FINISHED if finished else fate)
            kept = {lines[place]: nodes[place].score for place in going_on}


def test_sampling_has_no_tree(translator: Translator) -> None:
    options = DecodingOptions(temperature=1.0, max_length=5)
    assert searched(translator, options)[1].steps == ()
