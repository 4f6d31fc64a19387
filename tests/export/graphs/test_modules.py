"""Both graphs, as PyTorch wrappers and as ONNX, against the model without a cache."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers.models import MakeModel
from numpy.typing import NDArray
from onnx import helper

from tfm.export.graphs.builder import GraphBuilder
from tfm.export.graphs.modules import DecoderGraph, EncoderGraph
from tfm.export.graphs.step import position_encoding, step_graph
from tfm.export.graphs.trace import Graphs, convert
from tfm.export.model_folder import write_model_folder
from tfm.export.quantization.variants import open_to_check
from tfm.trainer.config import TransformerConfig
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer
from tfm.trainer.positions import sinusoidal_positions

FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
Arrays = dict[str, NDArray[Any]]
# sentences, beams, source length: no two alike, so that no axis can stand in for another
SIZES = [(1, 1, 1), (1, 4, 7), (3, 1, 5), (4, 3, 9), (2, 6, 3)]


class Pair:
    """An encoder and a decoder: numpy in and out, by the names of the graph table."""

    def __init__(self, model: Transformer) -> None:
        self.layers, self.config = model.config.decoder_layers, model.config
        self.empty = (model.config.num_heads, 0, model.config.d_model // model.config.num_heads)

    def encode(self, source_ids: NDArray[np.int64]) -> Arrays:
        raise NotImplementedError

    def step(self, inputs: Arrays) -> Arrays:
        raise NotImplementedError


class TorchPair(Pair):
    def __init__(self, model: Transformer) -> None:
        super().__init__(model)
        self.encoder, self.decoder = EncoderGraph(model).eval(), DecoderGraph(model).eval()

    @torch.no_grad()
    def encode(self, source_ids: NDArray[np.int64]) -> Arrays:
        outputs = self.encoder(torch.from_numpy(source_ids))
        return {k: v.numpy() for k, v in zip(cross_and_bias(self.layers), outputs, strict=True)}

    @torch.no_grad()
    def step(self, inputs: Arrays) -> Arrays:
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        past, cross = (
            [(tensors[f"{p}_key.{i}"], tensors[f"{p}_value.{i}"]) for i in range(self.layers)]
            for p in ("past", "cross")
        )
        batch, beams = tensors["scores"].shape
        logits, *caches = self.decoder(
            tensors["target_ids"],
            sinusoidal_positions(tensors["position"].float(), self.config),
            tensors["history"].unsqueeze(1),
            past,
            cross,
            tensors["source_bias"].expand(-1, -1, beams, -1),
        )
        totals = logits.log_softmax(dim=1).view(batch, beams, -1) + tensors["scores"].unsqueeze(2)
        values, best = totals.flatten(1).topk(2 * beams, dim=1)
        vocab_size = logits.shape[1]
        return {
            "candidate_scores": values.numpy(),
            "candidate_ids": (best % vocab_size).numpy(),
            "candidate_origins": (best // vocab_size).numpy(),
            **{k: v.numpy() for k, v in zip(presents(self.layers), caches, strict=True)},
        }


class OnnxPair(Pair):
    def __init__(self, model: Transformer, graphs: Graphs) -> None:
        super().__init__(model)
        step = step_graph(graphs.decoder, model.config)
        onnx.checker.check_model(step, full_check=True)
        self.encoder, self.decoder = session(graphs.encoder), session(step)

    def encode(self, source_ids: NDArray[np.int64]) -> Arrays:
        return run(self.encoder, {"source_ids": source_ids})

    def step(self, inputs: Arrays) -> Arrays:
        return run(self.decoder, inputs)


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def run(session: onnxruntime.InferenceSession, inputs: Arrays) -> Arrays:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def cross_and_bias(layers: int) -> list[str]:
    names = [f"cross_{what}.{i}" for i in range(layers) for what in ("key", "value")]
    return [*names, "source_bias"]


def presents(layers: int) -> list[str]:
    return [f"present_{what}.{i}" for i in range(layers) for what in ("key", "value")]


def sources(model: Transformer, batch: int, length: int, seed: int) -> NDArray[np.int64]:
    """Random ids; every sentence but the longest is padded."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(4, model.config.source_vocab_size, (batch, length))
    for row, real in zip(ids[1:], rng.integers(1, length + 1, batch - 1), strict=True):
        row[real:] = model.config.pad_id
    return ids


@torch.no_grad()
def uncached_totals(
    model: Transformer,
    source_ids: NDArray[np.int64],
    prefixes: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> NDArray[np.float32]:
    """[B, K, V] from the whole prefixes [B, K, T], each beam with its own copy of the source."""
    beams = prefixes.shape[1]
    repeated = torch.from_numpy(source_ids).repeat_interleave(beams, 0)
    memory, bias = model.encode(repeated)
    hidden = model.decode(torch.from_numpy(prefixes).flatten(0, 1), memory, bias)
    log_probs = model.projection(hidden[:, -1]).log_softmax(dim=1).numpy()
    return scores[:, :, None] + log_probs.reshape(*scores.shape, -1)


def check_candidates(found: Arrays, totals: NDArray[np.float32]) -> None:
    """The 2K best, best first; which of two nearly equal ones comes first is left open."""
    scores, ids, origins = (found[f"candidate_{name}"] for name in ("scores", "ids", "origins"))
    batch, beams, vocab_size = totals.shape
    assert scores.shape == ids.shape == origins.shape == (batch, 2 * beams)
    assert scores.dtype == np.float32
    assert ids.dtype == origins.dtype == np.int64
    expected = -np.sort(-totals.reshape(batch, -1), axis=1)[:, : 2 * beams]
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    real = scores > -np.inf
    sentences = np.arange(batch)[:, None]
    assert ids[real].max() < vocab_size
    named = totals[sentences, origins, np.minimum(ids, vocab_size - 1)]
    np.testing.assert_allclose(scores[real], named[real], atol=1e-4)
    for row_real, row in zip(real, origins * vocab_size + ids, strict=True):
        assert len(set(row[row_real])) == row_real.sum()


def check_decoding(model: Transformer, pair: Pair, sizes: tuple[int, int, int]) -> None:
    """Six steps with tokens, beams and sentences drawn at random, each against no cache.

    Beams change places by the rows of `history` alone; a sentence leaves by slicing every array.
    """
    batch, beams, length = sizes
    rng = np.random.default_rng(sum(sizes))
    source_ids = sources(model, batch, length, seed=batch)
    memory = pair.encode(source_ids)
    check_memory(model, source_ids, memory)

    heads, _, head_size = pair.empty
    cache = empty_cache(pair, batch)
    history = np.zeros((batch, beams, 0), np.float32)
    scores = np.full((batch, beams), -np.inf, np.float32)
    scores[:, 0] = 0
    prefixes = np.full((batch, beams, 1), model.config.bos_id)
    for step in range(6):
        history = with_entries_of_this_step(history)
        inputs = {
            "target_ids": np.ascontiguousarray(prefixes[:, :, -1]),
            "scores": scores,
            "position": np.array([step]),
            "history": history,
        }
        found = pair.step({**inputs, **cache, **memory})
        check_candidates(found, uncached_totals(model, source_ids, prefixes, scores))
        for name in presents(pair.layers):
            assert found[name].shape == (len(prefixes), heads, (step + 1) * beams, head_size)
        cache = {name.replace("present", "past"): found[name] for name in presents(pair.layers)}

        kept = np.arange(len(prefixes))
        if step in (1, 3) and len(kept) > 1:
            kept = np.sort(rng.permutation(kept)[:-1])  # a finished sentence leaves
        origins = rng.integers(0, beams, (len(kept), beams))
        tokens = rng.integers(0, model.config.target_vocab_size, (len(kept), beams, 1))
        prefixes = np.concatenate([prefixes[kept[:, None], origins], tokens], axis=2)
        history = history[kept[:, None], origins]
        source_ids, memory = source_ids[kept], {name: a[kept] for name, a in memory.items()}
        cache = {name: a[kept] for name, a in cache.items()}
        scores = rng.normal(size=(len(kept), beams)).astype(np.float32)


def empty_cache(pair: Pair, batch: int) -> Arrays:
    return {
        name.replace("present", "past"): np.zeros((batch, *pair.empty), np.float32)
        for name in presents(pair.layers)
    }


def with_entries_of_this_step(history: NDArray[np.float32]) -> NDArray[np.float32]:
    """[B, K, E] to [B, K, E + K]: of the K entries that a step adds, every beam has its own."""
    batch, beams, _ = history.shape
    own = np.where(np.eye(beams, dtype=bool), 0, -np.inf).astype(np.float32)
    return np.concatenate([history, np.tile(own, (batch, 1, 1))], axis=2)


@torch.no_grad()
def check_memory(model: Transformer, source_ids: NDArray[np.int64], memory: Arrays) -> None:
    encoded, bias = model.encode(torch.from_numpy(source_ids))
    assert list(memory) == cross_and_bias(len(model.decoder))
    np.testing.assert_array_equal(memory["source_bias"], bias.numpy())
    np.testing.assert_array_equal(
        memory["source_bias"][:, 0, 0] == 0, source_ids != model.config.pad_id
    )
    batch, length, d_model = encoded.shape
    shape = (batch, length, model.config.num_heads, d_model // model.config.num_heads)
    real = source_ids != model.config.pad_id
    for i, layer in enumerate(model.decoder_layers):
        for what, projection, axes in (
            ("key", layer.cross_attention.k_proj, (0, 2, 1, 3)),
            ("value", layer.cross_attention.v_proj, (0, 2, 1, 3)),
        ):
            expected = projection(encoded).numpy().reshape(shape)
            found = memory[f"cross_{what}.{i}"].transpose(axes)
            np.testing.assert_allclose(found[real], expected[real], atol=1e-4)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("vocab_size", [40, 64, 65, 128, 200])
def test_torch_graphs(
    make_model: Callable[..., Transformer], norm: str, vocab_size: int, sizes: tuple[int, int, int]
) -> None:
    model = make_model(
        source_vocab_size=30,
        target_vocab_size=vocab_size,
        d_model=16,
        d_ff=24,
        num_heads=2,
        encoder_layers=2,
        decoder_layers=2,
        norm=norm,
    )
    check_decoding(model, TorchPair(model), sizes)


@pytest.fixture(scope="module", params=["tiny", "pre"])
def converted(request: pytest.FixtureRequest) -> tuple[Transformer, Graphs]:
    name = request.param
    return request.getfixturevalue(f"{name}_model"), request.getfixturevalue(f"{name}_graphs")


@pytest.mark.parametrize("sizes", SIZES)
def test_onnx_graphs(converted: tuple[Transformer, Graphs], sizes: tuple[int, int, int]) -> None:
    check_decoding(converted[0], OnnxPair(*converted), sizes)


def test_a_candidate_that_is_none_still_names_a_token(
    converted: tuple[Transformer, Graphs],
) -> None:
    model, graphs = converted
    vocab_size = model.config.target_vocab_size
    beams = vocab_size  # the first step offers V candidates, and 2V are drawn
    pair = OnnxPair(model, graphs)
    scores = np.full((1, beams), -np.inf, np.float32)
    scores[0, 0] = 0
    found = pair.step(
        {
            "target_ids": np.full((1, beams), model.config.bos_id),
            "scores": scores,
            "position": np.array([0]),
            "history": with_entries_of_this_step(np.zeros((1, beams, 0), np.float32)),
            **pair.encode(sources(model, 1, 4, seed=0)),
            **empty_cache(pair, 1),
        }
    )
    assert (found["candidate_scores"] > -np.inf).sum() == vocab_size
    assert found["candidate_ids"].max() < vocab_size
    assert found["candidate_origins"].max() < beams


def signature(values: Any) -> Iterator[tuple[str, int, list[int | str]]]:
    for value in values:
        tensor = value.type.tensor_type
        dimensions = [
            d.dim_param if d.HasField("dim_param") else d.dim_value for d in tensor.shape.dim
        ]
        yield value.name, tensor.elem_type, dimensions


def test_signature_is_the_graph_table(converted: tuple[Transformer, Graphs]) -> None:
    model, graphs = converted
    heads, layers = model.config.num_heads, range(2)
    size = model.config.d_model // heads

    cross: list[tuple[str, int, list[int | str]]] = []
    for i in layers:
        cross.append((f"cross_key.{i}", FLOAT, ["B", heads, "S", size]))
        cross.append((f"cross_value.{i}", FLOAT, ["B", heads, "S", size]))
    cross.append(("source_bias", FLOAT, ["B", 1, 1, "S"]))
    assert list(signature(graphs.encoder.graph.input)) == [("source_ids", INT64, ["B", "S"])]
    assert list(signature(graphs.encoder.graph.output)) == cross

    caches = {
        name: [
            (f"{name}_{what}.{i}", FLOAT, ["B", heads, entries, size])
            for i in layers
            for what in ("key", "value")
        ]
        for name, entries in (("past", "E"), ("present", "E + K"))
    }
    step = step_graph(graphs.decoder, model.config)
    assert list(signature(step.graph.input)) == [
        ("target_ids", INT64, ["B", "K"]),
        ("scores", FLOAT, ["B", "K"]),
        ("position", INT64, [1]),
        ("history", FLOAT, ["B", "K", "E + K"]),
        *caches["past"],
        *cross,
    ]
    assert list(signature(step.graph.output)) == [
        ("candidate_scores", FLOAT, ["B", "2*K"]),
        ("candidate_ids", INT64, ["B", "2*K"]),
        ("candidate_origins", INT64, ["B", "2*K"]),
        *caches["present"],
    ]
    assert list(signature(graphs.decoder.graph.input)) == [
        ("target_ids", INT64, ["B", "K"]),
        ("position_encoding", FLOAT, [1, model.config.d_model]),
        ("history", FLOAT, ["B", 1, "K", "E + K"]),
        *caches["past"],
        *cross[:-1],
        ("source_bias", FLOAT, ["B", 1, "K", "S"]),
    ]
    assert list(signature(graphs.decoder.graph.output)) == [
        ("logits", FLOAT, ["N", model.config.target_vocab_size]),
        *caches["present"],
    ]


@pytest.mark.parametrize("d_model", [4, 64])
@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize("kind", ["paper", "marian", "fairseq"])
def test_position_encoding_is_the_trainers(d_model: int, kind: str, first: int) -> None:
    config = TransformerConfig(
        source_vocab_size=9,
        target_vocab_size=9,
        d_model=d_model,
        num_heads=1,
        positions=kind,
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
    found = run(session(model), {"positions": positions})["encoding"]
    expected = sinusoidal_positions(torch.from_numpy(positions).float(), config)
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_cross_attention_is_not_tiled_by_beam(converted: tuple[Transformer, Graphs]) -> None:
    """Nothing but attention itself may read the encoder's keys and values."""
    graph = converted[1].decoder.graph
    readers = [n.op_type for n in graph.node if any(i.startswith("cross_") for i in n.input)]
    assert readers == ["Attention"] * 2


def test_what_is_forbidden_is_not_written(
    make_model: MakeModel, tiny_vocabulary: Vocabulary, tmp_path: Path
) -> None:
    one = tiny_vocabulary.source
    sizes = {"source_vocab_size": one.vocab_size(), "target_vocab_size": one.vocab_size()}
    shape = {"d_model": 32, "d_ff": 64, "num_heads": 4, "encoder_layers": 1, "decoder_layers": 2}
    free = make_model(seed=2, eos_scale=3.0, eos_bonus=0.5, **sizes, **shape)
    sources = [[*range(i, i + 5), free.config.eos_id] for i in range(10, 200, 9)]
    written = Counter(i for row in free.greedy(torch.tensor(sources), 12) for i in row)
    (common, count), *_ = written.most_common(1)
    assert count > 10
    model = Transformer(dataclasses.replace(free.config, suppress_ids=(common,))).eval()
    model.load_state_dict(free.state_dict())
    expected = model.greedy(torch.tensor(sources), 12)
    assert expected != free.greedy(torch.tensor(sources), 12)
    vocabulary, variants = Vocabulary(one, one), ("fp32", "int8", "fp16")
    write_model_folder(model, vocabulary, convert(model), tmp_path, variants, "forbidding")
    for variant in variants:
        translator = open_to_check(tmp_path, variant)
        for beam_size in (1, 4):
            found = translator.translate_ids(sources, beam_size=beam_size, max_length=12)
            assert not any(common in hypotheses[0].ids for hypotheses in found), variant
            if (variant, beam_size) == ("fp32", 1):
                assert [list(hypotheses[0].ids) for hypotheses in found] == expected
