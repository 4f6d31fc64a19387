"""Models whose decoder has SSRU: the graphs against the model without a state, the paper's loop,
and each other. Those of attention are in test_modules.py, test_step.py and test_search.py."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from helpers.graph_pairs import memory_names, padded_sources, run_session, session
from helpers.languages import model_language
from helpers.scalar_search import scalar_search
from helpers.search_cases import CASES, SearchCase
from helpers.search_engines import search_by_steps
from helpers.signatures import FLOAT, INT64, encoder_outputs, signature
from numpy.typing import NDArray

from tfm.export.graphs.compact_cache import compact_graph
from tfm.export.graphs.greedy import compose_greedy
from tfm.export.graphs.step import model_metadata, step_graph
from tfm.export.graphs.trace import Graphs
from tfm.runtime.config import ModelConfig
from tfm.runtime.options import DecodingOptions, declared_options
from tfm.runtime.search import ScoredIds
from tfm.runtime.sessions import Sessions
from tfm.trainer.model import Transformer
from tfm.trainer.ssru import SSRU

LAYERS, HEADS, SIZE = 2, 4, 32
PASTS = [f"past_state.{layer}" for layer in range(LAYERS)]


@pytest.fixture(scope="module")
def step(ssru_graphs: Graphs, ssru_model: Transformer) -> onnx.ModelProto:
    graph = step_graph(ssru_graphs.decoder, ssru_model.config)
    onnx.checker.check_model(graph, full_check=True)
    return graph


@pytest.fixture(scope="module")
def compact(ssru_graphs: Graphs, ssru_model: Transformer) -> onnx.ModelProto:
    graph = compact_graph(ssru_graphs, ssru_model.config)
    onnx.checker.check_model(graph, full_check=True)
    return graph


@pytest.fixture(scope="module")
def sessions(ssru_folder: Path) -> dict[str, Sessions]:
    return {variant: load(ssru_folder, variant) for variant in ("fp32", "int8")}


def load(folder: Path, variant: str) -> Sessions:
    config = ModelConfig.load(folder)
    return Sessions.open(folder, config, device="cpu", variant=variant, intra_threads=1)


def test_signatures(
    step: onnx.ModelProto, compact: onnx.ModelProto, ssru_model: Transformer
) -> None:
    states = [(name, FLOAT, ["B", "K", SIZE]) for name in PASTS]
    outputs = encoder_outputs(LAYERS, HEADS, SIZE // HEADS)
    assert signature(step.graph.input) == [
        ("target_ids", INT64, ["B", "K"]),
        ("scores", FLOAT, ["B", "K"]),
        ("position", INT64, [1]),
        ("beam_origin", INT64, ["B", "K"]),
        *states,
        *outputs,
    ]
    assert signature(step.graph.output) == [
        *((f"candidate_{name}", kind, ["B", "2*K"])
          for name, kind in (("scores", FLOAT), ("ids", INT64), ("origins", INT64))),
        *((name.replace("past", "present"), *rest) for name, *rest in states),
        ("logits", FLOAT, ["N", ssru_model.config.target_vocab_size]),
    ]  # fmt: skip
    properties = {entry.key: entry.value for entry in step.metadata_props}
    assert properties == model_metadata(ssru_model.config)
    assert signature(compact.graph.input) == [("kept", INT64, ["B'"]), *states, *outputs]


def first_states(unit: SSRU, inputs: NDArray[np.float64]) -> list[float]:
    """The state after some inputs [T, D], a number at a time (Kim et al. 2019)."""
    weight, forget = unit.input_proj.weight.tolist(), unit.forget_proj.weight.tolist()
    bias, state = unit.forget_proj.bias.tolist(), [0.0] * SIZE
    for x in inputs.tolist():
        new = []
        for i in range(SIZE):
            gate = bias[i] + sum(a * b for a, b in zip(forget[i], x, strict=True))
            f = 1 / (1 + math.exp(-gate))
            new.append(
                f * state[i] + (1 - f) * sum(a * b for a, b in zip(weight[i], x, strict=True))
            )
        state = new
    return state


@torch.no_grad()
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 1, 5), (4, 3, 9), (2, 6, 3)])
def test_beams_and_sentences_take_their_states_along(
    sizes: tuple[int, int, int],
    step: onnx.ModelProto,
    compact: onnx.ModelProto,
    ssru_graphs: Graphs,
    ssru_model: Transformer,
) -> None:
    """Steps with tokens, origins and sentences drawn at random, each against whole prefixes."""
    batch, beams, length = sizes
    model, rng = ssru_model, np.random.default_rng(sum(sizes))
    encoder, decoder, compactor = map(session, (ssru_graphs.encoder, step, compact))
    source_ids = padded_sources(model, batch, length, seed=batch)
    memory = run_session(encoder, {"source_ids": source_ids})
    assert list(memory) == memory_names(LAYERS)
    states = {name: np.zeros((batch, beams, SIZE), np.float32) for name in PASTS}
    origins = np.zeros((batch, beams), np.int64)
    scores = np.full((batch, beams), -np.inf, np.float32)
    scores[:, 0] = 0
    prefixes = np.full((batch, beams, 1), model.config.bos_id)
    for position in range(5):
        inputs = {
            "target_ids": np.ascontiguousarray(prefixes[:, :, -1]),
            "scores": scores,
            "position": np.array([position]),
            "beam_origin": origins,
        }
        outputs = run_session(decoder, {**inputs, **states, **memory})
        expected = whole_prefixes(model, source_ids, prefixes)
        np.testing.assert_allclose(outputs["logits"], expected, atol=1e-4)
        check_candidates(outputs, expected, scores)
        states = {name: outputs[name.replace("past", "present")] for name in PASTS}
        check_first_layer(model, prefixes, states[PASTS[0]])

        kept = np.arange(len(prefixes))
        if position in (1, 3) and len(kept) > 1:
            kept = np.sort(rng.permutation(kept)[:-1])  # a finished sentence leaves
            smaller = run_session(compactor, {"kept": kept, **states, **memory})
            states = {name: smaller[f"compact_{name}"] for name in states}
            memory = {name: smaller[f"compact_{name}"] for name in memory}
        origins = rng.integers(0, beams, (len(kept), beams))
        tokens = rng.integers(0, model.config.target_vocab_size, (len(kept), beams, 1))
        prefixes = np.concatenate([prefixes[kept[:, None], origins], tokens], axis=2)
        source_ids, scores = source_ids[kept], rng.normal(size=origins.shape).astype(np.float32)


def whole_prefixes(
    model: Transformer, source_ids: NDArray[np.int64], prefixes: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Logits [N, V] after prefixes [B, K, T], each beam with its own copy of the source."""
    repeated = torch.from_numpy(source_ids).repeat_interleave(prefixes.shape[1], 0)
    memory, bias = model.encode(repeated)
    hidden = model.decode(torch.from_numpy(prefixes).flatten(0, 1), memory, bias)
    logits: NDArray[np.float32] = model.projection(hidden[:, -1]).numpy()
    return logits


def check_candidates(
    outputs: dict[str, NDArray[Any]], logits: NDArray[np.float32], scores: NDArray[np.float32]
) -> None:
    log_probs = torch.from_numpy(logits).log_softmax(dim=1).numpy().reshape(*scores.shape, -1)
    totals = (log_probs + scores[:, :, None]).reshape(len(scores), -1)
    best = -np.sort(-totals, axis=1)[:, : 2 * scores.shape[1]]
    np.testing.assert_allclose(outputs["candidate_scores"], best, atol=1e-4)
    places = outputs["candidate_origins"] * log_probs.shape[2] + outputs["candidate_ids"]
    real = best > -np.inf
    np.testing.assert_allclose(np.take_along_axis(totals, places, 1)[real], best[real], atol=1e-4)


def check_first_layer(
    model: Transformer, prefixes: NDArray[np.int64], states: NDArray[np.float32]
) -> None:
    layer = model.decoder_layers[0]
    embedded = model.target_embeddings(torch.from_numpy(prefixes[:, -1]))
    inputs = layer.ssru_residual.norm(embedded).double().numpy()  # pre-norm
    for sentence, state in zip(inputs, states[:, -1], strict=True):
        np.testing.assert_allclose(state, first_states(layer.ssru, sentence), atol=1e-5)


IN_THE_GRAPH = [case for name, _, spec in declared_options() if spec.graph for case in CASES[name]]
LONG = [SearchCase(DecodingOptions(beam_size=k, max_length=20, num_hypotheses=k)) for k in (1, 4)]


def random_sources(model: Transformer, lengths: list[int]) -> list[list[int]]:
    rng = np.random.default_rng(1)
    size = model.config.source_vocab_size
    return [[*rng.integers(4, size, n).tolist(), model.config.eos_id] for n in lengths]


def by_steps(
    sessions: Sessions, sources: list[list[int]], case: SearchCase
) -> list[list[ScoredIds]]:
    state, ids = sessions.encode(sources, case.options.beam_size), sessions._config.special_ids
    return search_by_steps(ids.bos_id, ids.eos_id, state, len(sources), case.options, case.prefix)


def assert_same(
    found: list[list[ScoredIds]], expected: list[list[ScoredIds]], tolerance: float
) -> None:
    for one, other in zip(found, expected, strict=True):
        assert [h.ids for h in one] == [h.ids for h in other]
        assert [h.score for h in one] == pytest.approx(
            [h.score for h in other], rel=tolerance, abs=tolerance
        )


@pytest.mark.parametrize("variant", ["fp32", "int8"])
@pytest.mark.parametrize("case", [*IN_THE_GRAPH, *LONG], ids=str)
def test_one_call_gives_what_the_steps_give(
    sessions: dict[str, Sessions], ssru_model: Transformer, variant: str, case: SearchCase
) -> None:
    sources = random_sources(ssru_model, [1, 12, 5, 9, 2, 2])
    found = sessions[variant].translate(sources, case.options, case.prefix)
    expected = by_steps(sessions[variant], sources, case)
    assert_same(found, expected, 1e-6)  # batches of other sizes round otherwise


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_finished_sentences_leave_and_change_nothing(
    sessions: dict[str, Sessions], ssru_model: Transformer, variant: str
) -> None:
    sources = random_sources(ssru_model, [1, 12, 5, 9, 2, 2, 7, 4])
    for case in LONG:
        together = sessions[variant].translate(sources, case.options)
        lengths = {len(hypotheses[0].ids) for hypotheses in together}
        assert min(lengths) < 8 < max(lengths)  # before and after the first compaction
        for source, hypotheses in zip(sources, together, strict=True):
            (alone,) = sessions[variant].translate([source], case.options)
            assert [h.ids for h in alone] == [h.ids for h in hypotheses]


def test_beam_search_is_the_loop_over_tokens(
    sessions: dict[str, Sessions], ssru_model: Transformer
) -> None:
    """A few cases; test_search_conformance.py has all (pytest -m slow)."""
    sources = random_sources(ssru_model, [3, 8, 5])
    for case in (
        SearchCase(DecodingOptions(beam_size=1, max_length=12)),
        SearchCase(DecodingOptions(beam_size=3, num_hypotheses=3, max_length=10)),
        SearchCase(DecodingOptions(beam_size=2, max_length=8, length_penalty=0.5), (7, 9)),
    ):
        expected = [
            scalar_search(
                model_language(ssru_model, source), case.options, ssru_model.config.eos_id,
                case.prefix,
            )
            for source in sources
        ]  # fmt: skip
        for found in (
            sessions["fp32"].translate(sources, case.options, case.prefix),
            by_steps(sessions["fp32"], sources, case),
        ):
            assert_same(found, expected, 1e-4)


def test_greedy_is_pytorchs(sessions: dict[str, Sessions], ssru_model: Transformer) -> None:
    source_ids = padded_sources(ssru_model, 20, 9, seed=3)
    sources = [row[row != ssru_model.config.pad_id].tolist() for row in source_ids]
    expected = ssru_model.greedy(torch.from_numpy(source_ids), 20)
    found = sessions["fp32"].translate(sources, DecodingOptions(beam_size=1, max_length=20))
    assert [list(hypotheses[0].ids) for hypotheses in found] == expected
    assert len({len(ids) for ids in expected}) > 5


def test_greedy_onnx_is_pytorchs(ssru_graphs: Graphs, ssru_model: Transformer) -> None:
    source_ids = padded_sources(ssru_model, 20, 9, seed=3)
    graph = compose_greedy(ssru_graphs, ssru_model.config, DecodingOptions())
    inputs = {"source_ids": source_ids, "max_length": np.array(20)}
    outputs = run_session(session(graph), inputs)
    lengths = outputs["output_lengths"][:, 0]
    found = [row[:n] for row, n in zip(outputs["output_ids"][:, 0].tolist(), lengths, strict=True)]
    assert found == ssru_model.greedy(torch.from_numpy(source_ids), 20)


def test_no_step_reads_more_than_the_one_before(step: onnx.ModelProto, ssru_graphs: Graphs) -> None:
    """The states are all that is carried along, whatever the number of steps."""
    inputs = {value.name for value in step.graph.input}
    assert not any(name.startswith(("past_key", "past_value", "ancestry")) for name in inputs)
    attentions = [n for n in ssru_graphs.decoder.graph.node if n.op_type == "Attention"]
    assert [n.input[1].partition(".")[0] for n in attentions] == ["cross_key"] * LAYERS
