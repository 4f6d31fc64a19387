"""Candidates picked from logits, against a stable sort of all sums in numpy."""

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto, helper

from tfm.export.graphs.builder import GraphBuilder
from tfm.export.graphs.candidates import BLOCK, best_candidates, best_token, grid

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
# One block and several, with and without columns of the last one behind the vocabulary.
VOCAB_SIZES = [1, 5, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK - 5, 3 * BLOCK]


@pytest.fixture(scope="module", params=VOCAB_SIZES)
def vocab_size(request: pytest.FixtureRequest) -> int:
    size: int = request.param
    return size


@pytest.fixture(scope="module")
def picking(vocab_size: int) -> onnxruntime.InferenceSession:
    """logits [N, V] and scores [B, K] to all of `best_candidates`."""
    b = GraphBuilder()
    cells = grid(b, "scores", vocab_size)
    found = best_candidates(b, "logits", "scores", cells)
    scores = helper.make_tensor_value_info("scores", FLOAT, ["B", "K"])
    return session(
        b,
        [helper.make_tensor_value_info("logits", FLOAT, ["N", vocab_size]), scores],
        {
            "found_scores": (found.scores, FLOAT, ["B", "X"]),
            "ids": (found.ids, INT64, ["B", "X"]),
            "rows": (found.rows, INT64, ["B", "X"]),
        },
    )


@pytest.fixture(scope="module")
def picking_one(vocab_size: int) -> onnxruntime.InferenceSession:
    """logits [N, V] to both results of `best_token`."""
    b = GraphBuilder()
    token, block = best_token(b, "logits", vocab_size)
    return session(
        b,
        [helper.make_tensor_value_info("logits", FLOAT, ["N", vocab_size])],
        {"token": (token, INT64, ["N", 1]), "block": (block, FLOAT, ["N", BLOCK])},
    )


def session(
    b: GraphBuilder,
    inputs: list[ValueInfoProto],
    outputs: dict[str, tuple[str, int, list[int | str]]],
) -> onnxruntime.InferenceSession:
    model = b.model("picking", inputs, outputs, [helper.make_opsetid("", 23)], 10)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


ties = st.sampled_from([-np.inf, -3.0, -2.5, -1.0, 0.0])
any_score = st.floats(-50, 0, width=32)


@st.composite
def beams(draw: st.DrawFn, most: int = 6) -> tuple[NDArray[np.float32], int]:
    """Scores [B, K], many of them equal, and a seed for the logits."""
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, most)))
    elements = draw(st.sampled_from([ties, any_score]))
    return draw(arrays.arrays(np.float32, shape, elements=elements)), draw(st.integers(0, 10**6))


def logits_and_sums(
    scores: NDArray[np.float32], vocab_size: int, seed: int, coarse: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits [N, V], and every sum of a score and a log-probability [B, K * V].

    The log-probabilities are those of the operator itself: which of two sums is larger, and
    whether they are equal, is a matter of their last bits.
    """
    rng = np.random.default_rng(seed)
    logits = rng.uniform(-20, 0, (scores.size, vocab_size)).astype(np.float32)
    if coarse:
        logits = np.round(logits / 4)  # ties within a beam and between beams
    log_probs = log_softmax(logits).reshape(*scores.shape, vocab_size)
    return logits, (log_probs + scores[:, :, None]).reshape(len(scores), -1)


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    node = helper.make_node("LogSoftmax", ["x"], ["y"], axis=1)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "test", [value("x", FLOAT, ["N", "V"])], [value("y", FLOAT, ["N", "V"])]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    one = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found: NDArray[np.float32] = one.run(None, {"x": logits})[0]
    return found


@settings(deadline=None, max_examples=60)
@given(beams=beams(), coarse=st.booleans())
def test_best_candidates_are_a_stable_sort(
    picking: onnxruntime.InferenceSession,
    vocab_size: int,
    beams: tuple[NDArray[np.float32], int],
    coarse: bool,
) -> None:
    scores, seed = beams
    if vocab_size == 1:
        return  # no two candidates of one beam: rule 4 needs them
    logits, sums = logits_and_sums(scores, vocab_size, seed, coarse)
    order = np.argsort(-sums, axis=1, kind="stable")[:, : 2 * scores.shape[1]]
    expected_beams, expected_ids = np.divmod(order, vocab_size)

    found, ids, rows = picking.run(None, {"logits": logits, "scores": scores})
    expected = np.take_along_axis(sums, order, axis=1)
    np.testing.assert_array_equal(found, expected)
    assert ids.max() < vocab_size
    real = expected > -np.inf  # which of those that are none comes first is left open
    np.testing.assert_array_equal(ids[real], expected_ids[real])
    origins = rows - np.arange(len(scores))[:, None] * scores.shape[1]
    np.testing.assert_array_equal(origins[real], expected_beams[real])
    assert ((origins >= 0) & (origins < scores.shape[1])).all()


@settings(deadline=None, max_examples=60)
@given(rows=st.integers(1, 4), seed=st.integers(0, 10**6), coarse=st.booleans())
def test_the_best_token_has_the_largest_logit(
    picking_one: onnxruntime.InferenceSession,
    vocab_size: int,
    rows: int,
    seed: int,
    coarse: bool,
) -> None:
    logits, _ = logits_and_sums(np.zeros((rows, 1), np.float32), vocab_size, seed, coarse)
    token, block = picking_one.run(None, {"logits": logits})
    np.testing.assert_array_equal(token, logits.argmax(axis=1, keepdims=True))
    np.testing.assert_array_equal(block.max(axis=1), logits.max(axis=1))
