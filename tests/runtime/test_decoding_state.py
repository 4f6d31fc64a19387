"""One batch in the middle of decoding: logits and candidates of a step say the same."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest

from tfm.runtime import ModelError
from tfm.runtime.candidates import best_candidates
from tfm.runtime.config import ModelConfig
from tfm.runtime.decoding_state import DecodingState
from tfm.runtime.graph_session import GraphSession
from tfm.runtime.sessions import Sessions


@pytest.fixture(scope="module", params=["tiny", "ssru"])
def sessions(request: pytest.FixtureRequest) -> Sessions:
    return open_sessions(request.getfixturevalue(f"{request.param}_folder"))


def open_sessions(folder: Path) -> Sessions:
    config = ModelConfig.load(folder)
    return Sessions.open(folder, config, device="cpu", variant="fp32", intra_threads=1)


SOURCES = [[5, 6, 7, 8, 3], [9, 3], [10, 11, 12, 3]]


def run_steps(state: DecodingState, by_logits: bool) -> list[Any]:
    """Twenty steps with fixed tokens and origins; two sentences leave on the way."""
    rng = np.random.default_rng(0)
    beams, results = 3, []
    sentences = np.arange(len(SOURCES))
    scores = np.array([[0, -1, -2]] * len(SOURCES), np.float32)
    for step in range(20):
        ids = rng.integers(4, 45, (len(SOURCES), beams))[sentences]
        origins = rng.integers(0, beams, (len(SOURCES), beams))[sentences]
        if by_logits:
            results.append(best_candidates(state.step_logits(ids, origins), scores[sentences]))
        else:
            results.append(state.step(ids, origins, scores[sentences]))
        if step in (5, 11):
            kept = np.arange(len(sentences) - 1)
            state.keep(kept)
            sentences = sentences[kept]
    return results


def test_the_candidates_are_those_of_the_logits(sessions: Sessions) -> None:
    drawn = run_steps(sessions.encode(SOURCES, 3), by_logits=False)
    computed = run_steps(sessions.encode(SOURCES, 3), by_logits=True)
    for ours, theirs in zip(drawn, computed, strict=True):
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
        np.testing.assert_array_equal(ours.ids, theirs.ids)
        np.testing.assert_array_equal(ours.origins, theirs.origins)


def test_states_belong_to_beams(ssru_folder: Path) -> None:
    """A beam that goes on from another one has that one's states, and nobody else's."""
    state, other = (open_sessions(ssru_folder).encode(SOURCES, 2) for _ in range(2))
    apart = np.array([[5, 6]] * 3)
    for one in (state, other):
        one.step_logits(apart, np.zeros_like(apart))
    assert state.cache["past_state.0"].shape == (3, 2, 32)
    same = np.full_like(apart, 7)
    exchanged = state.step_logits(same, np.array([[1, 0], [0, 0], [1, 1]]))
    straight = other.step_logits(same, np.array([[0, 1]] * 3))
    expected = np.stack([straight[0, [1, 0]], straight[1, [0, 0]], straight[2, [1, 1]]])
    np.testing.assert_allclose(exchanged, expected, atol=1e-6)
    assert not np.allclose(straight[:, 0], straight[:, 1], atol=1e-3)


def test_what_a_step_returned_stays_when_the_state_goes_on(sessions: Sessions) -> None:
    state = sessions.encode(SOURCES, 1)
    ids = np.full((3, 1), 2)
    logits = state.step_logits(ids, np.zeros_like(ids))
    before = logits.copy()
    memory = {name: array.copy() for name, array in state.memory.items()}
    for _ in range(20):
        state.step_logits(ids, np.zeros_like(ids))
    np.testing.assert_array_equal(logits, before)
    logits[:] = 0  # it belongs to the caller
    assert all((state.memory[name] == array).all() for name, array in memory.items())


def test_a_decoder_that_does_not_say_how_it_compacts(tiny_folder: Path) -> None:
    sessions = open_sessions(tiny_folder)

    class Silent:
        """The decoder's session without its metadata."""

        def __init__(self, session: GraphSession) -> None:
            self.io_binding = session.io_binding

        metadata: ClassVar[dict[str, str]] = {}

    state = sessions.encode(SOURCES, 1)
    with pytest.raises(ModelError, match="does not say its compaction_steps and slot_alignment"):
        DecodingState(
            Silent(sessions._graph("decoder")),
            sessions._graph("compact"),
            "cpu",
            memory=state._memory,
            cache=state._cache,
            beam_size=1,
        )
    model = onnx.load(tiny_folder / "fp32" / "decoder.onnx", load_external_data=False)
    assert {entry.key for entry in model.metadata_props} >= {"compaction_steps", "slot_alignment"}
