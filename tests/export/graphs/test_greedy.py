"""greedy.onnx beside translate.onnx: the same tokens and scores; and when scores are left out."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest

from tfm.export.graphs.passes import bodies_of
from tfm.runtime import ModelError
from tfm.runtime.config import ModelConfig
from tfm.runtime.options import DecodingOptions
from tfm.runtime.sessions import Sessions


@pytest.fixture(scope="module", params=["tiny/fp32", "tiny/int8", "pre/fp32"])
def sessions(request: pytest.FixtureRequest) -> Sessions:
    name, variant = request.param.split("/")
    folder: Path = request.getfixturevalue(f"{name}_folder")
    config = ModelConfig.load(folder)
    return Sessions.open(folder, config, device="cpu", variant=variant, intra_threads=1)


def random_sources(sessions: Sessions, lengths: list[int]) -> list[list[int]]:
    config, rng = sessions._config, np.random.default_rng(0)
    size = config.architecture.source_vocab_size
    return [[*rng.integers(4, size, n - 1).tolist(), config.special_ids.eos_id] for n in lengths]


@pytest.mark.parametrize("prefix", [(), (7,), (7, 9, 8)])
@pytest.mark.parametrize("length", [1, 5, 31, 32, 33, 80])
def test_it_writes_what_translate_onnx_writes(
    sessions: Sessions, length: int, prefix: tuple[int, ...]
) -> None:
    """Lengths around those of a phase, in a batch whose sentences end at different steps."""
    sources = random_sources(sessions, [3, 17, 2, 30, 9, 12, 5, 21, 4, 8, 6])
    options = DecodingOptions(beam_size=1, max_length=length, length_penalty=0.7)
    expected = sessions.translate(sources, options, prefix)
    found = sessions.translate(sources, options, prefix, graph="greedy")
    assert [[h.ids for h in row] for row in found] == [[h.ids for h in row] for row in expected]
    scores = [row[0].score for row in found]
    assert scores == pytest.approx([row[0].score for row in expected], rel=1e-5)


def test_sentences_end_at_different_steps(sessions: Sessions) -> None:
    """Else the test above would not take sentences out of a batch."""
    sources = random_sources(sessions, [3, 17, 2, 30, 9, 12, 5, 21, 4, 8, 6])
    options = DecodingOptions(beam_size=1, max_length=80)
    found = sessions.translate(sources, options, graph="greedy")
    assert len({len(row[0].ids) for row in found}) > 3


def test_a_sentence_is_the_same_alone_and_in_a_batch(sessions: Sessions) -> None:
    sources = random_sources(sessions, [3, 17, 2, 30, 9])
    options = DecodingOptions(beam_size=1, max_length=40)
    together = sessions.translate(sources, options, graph="greedy")
    alone = [sessions.translate([source], options, graph="greedy")[0] for source in sources]
    assert [row[0].ids for row in together] == [row[0].ids for row in alone]


def test_without_scores_the_tokens_are_the_same(sessions: Sessions) -> None:
    sources = random_sources(sessions, [3, 17, 2, 30])
    options = DecodingOptions(beam_size=1, max_length=20)
    expected = sessions.translate(sources, options, graph="greedy")
    found = sessions.translate(sources, options, graph="greedy", with_scores=False)
    assert [row[0].ids for row in found] == [row[0].ids for row in expected]
    assert all(math.isnan(row[0].score) for row in found)


@pytest.mark.parametrize("with_scores", [True, False])
def test_weights_that_are_no_numbers_are_an_error(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, *, with_scores: bool
) -> None:
    config = ModelConfig.load(tiny_folder)
    broken = Sessions.open(tiny_folder, config, device="cpu", variant="fp32", intra_threads=1)
    graph = broken._graph("greedy")
    run = graph.run

    def run_broken(*arguments: object) -> list[np.ndarray]:  # type: ignore[type-arg]
        ids, lengths, scores = run(*arguments)  # type: ignore[arg-type]
        return [ids, lengths, np.full_like(scores, -np.inf)]

    monkeypatch.setattr(graph, "run", run_broken)
    with pytest.raises(ModelError, match="no finite score"):
        broken.translate(
            [[5, 6, config.special_ids.eos_id]],
            DecodingOptions(beam_size=1),
            graph="greedy",
            with_scores=with_scores,
        )


def test_a_step_masks_no_slot_and_branches_nowhere(tiny_folder: Path) -> None:
    model = onnx.load(tiny_folder / "fp32" / "greedy.onnx", load_external_data=False)
    (phases,) = bodies_of(model.graph)
    (steps,) = bodies_of(phases)
    operators = [node.op_type for node in steps.node]
    assert "If" not in operators
    assert "TopK" not in operators
    own = [node for node in steps.node if node.op_type == "Attention" and len(node.input) > 4]
    assert own
    assert all(node.input[3] == "" for node in own)  # the mask
