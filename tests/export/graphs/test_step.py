"""decoder.onnx: its contract, its candidates and its positions."""

import numpy as np
import pytest
import torch
from helpers.graph_pairs import (
    OnnxPair,
    empty_cache,
    padded_sources,
    run_session,
    session,
    with_slots_of_this_step,
)
from helpers.signatures import FLOAT, INT64, caches, encoder_outputs, signature
from onnx import helper

from tfm.export.graphs.builder import GraphBuilder
from tfm.export.graphs.cache_slots import COMPACTION_STEPS, SLOT_ALIGNMENT
from tfm.export.graphs.step import model_metadata, position_encoding, step_graph
from tfm.export.graphs.trace import Graphs
from tfm.trainer.config import TransformerConfig
from tfm.trainer.model import Transformer
from tfm.trainer.positions import sinusoidal_positions

LAYERS = 2


def test_signature(converted: tuple[Transformer, Graphs]) -> None:
    model, graphs = converted
    heads = model.config.num_heads
    sizes = (LAYERS, heads, model.config.d_model // heads)
    step = step_graph(graphs.decoder, model.config)
    assert signature(step.graph.input) == [
        ("target_ids", INT64, ["B", "K"]),
        ("scores", FLOAT, ["B", "K"]),
        ("position", INT64, [1]),
        ("ancestry", FLOAT, ["B", "K", "E + K"]),
        *caches("past", *sizes),
        *encoder_outputs(*sizes),
    ]
    assert signature(step.graph.output) == [
        ("candidate_scores", FLOAT, ["B", "2*K"]),
        ("candidate_ids", INT64, ["B", "2*K"]),
        ("candidate_origins", INT64, ["B", "2*K"]),
        *caches("present", *sizes),
        ("logits", FLOAT, ["N", model.config.target_vocab_size]),
    ]
    assert {entry.key: entry.value for entry in step.metadata_props} == {
        **model_metadata(model.config),
        "compaction_steps": str(COMPACTION_STEPS),
        "slot_alignment": str(SLOT_ALIGNMENT),
    }


def test_ids_of_impossible_candidates_are_in_range(
    converted: tuple[Transformer, Graphs],
) -> None:
    model, graphs = converted
    vocab_size = model.config.target_vocab_size
    beams = vocab_size  # the first step offers V candidates, and 2V are drawn
    pair = OnnxPair(model, graphs)
    scores = np.full((1, beams), -np.inf, np.float32)
    scores[0, 0] = 0
    outputs = pair.step(
        {
            "target_ids": np.full((1, beams), model.config.bos_id),
            "scores": scores,
            "position": np.array([0]),
            "ancestry": with_slots_of_this_step(np.zeros((1, beams, 0), np.float32)),
            **pair.encode(padded_sources(model, 1, 4, seed=0)),
            **empty_cache(pair, 1),
        }
    )
    assert (outputs["candidate_scores"] > -np.inf).sum() == vocab_size
    assert outputs["candidate_ids"].max() < vocab_size
    assert outputs["candidate_origins"].max() < beams


@pytest.mark.parametrize("d_model", [4, 64])
@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize("positions_of", ["paper", "marian", "fairseq"])
def test_position_encoding_is_the_trainers(d_model: int, positions_of: str, first: int) -> None:
    config = TransformerConfig(
        source_vocab_size=9,
        target_vocab_size=9,
        d_model=d_model,
        num_heads=1,
        positions=positions_of,
        first_position=first,
    )
    positions = np.array([0, 1, 2, 17, 255, 1023])
    b = GraphBuilder()
    encoding = position_encoding(b, "positions", config)
    model = b.model(
        "encoding",
        [helper.make_tensor_value_info("positions", INT64, ["P"])],
        {"encoding": (encoding, FLOAT, ["P", d_model])},
        [helper.make_opsetid("", 23)],
        10,
    )
    actual = run_session(session(model), {"positions": positions})["encoding"]
    expected = sinusoidal_positions(torch.from_numpy(positions).float(), config)
    np.testing.assert_allclose(actual, expected, atol=2e-4)
