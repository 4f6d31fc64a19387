"""Both graphs, as PyTorch modules and as ONNX, against the model without a cache."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers.graph_pairs import (
    Arrays,
    OnnxPair,
    Pair,
    TorchPair,
    empty_cache,
    memory_names,
    padded_sources,
    with_slots_of_this_step,
)
from numpy.typing import NDArray

from tfm.export.graphs.trace import Graphs, layer_names
from tfm.trainer.model import Transformer

# sentences, beams, source length: all different, so that swapped axes fail
SIZES = [(1, 1, 1), (1, 4, 7), (3, 1, 5), (4, 3, 9), (2, 6, 3)]


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


def check_candidates(outputs: Arrays, totals: NDArray[np.float32]) -> None:
    """The 2K best, best first; which of two nearly equal ones comes first is left open."""
    scores, ids, origins = (outputs[f"candidate_{name}"] for name in ("scores", "ids", "origins"))
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

    Beams are reordered by the rows of `ancestry` alone; a sentence is dropped by slicing arrays.
    """
    batch, beams, length = sizes
    rng = np.random.default_rng(sum(sizes))
    source_ids = padded_sources(model, batch, length, seed=batch)
    memory = pair.encode(source_ids)
    check_memory(model, source_ids, memory)

    heads, _, head_size = pair.empty
    cache = empty_cache(pair, batch)
    ancestry = np.zeros((batch, beams, 0), np.float32)
    scores = np.full((batch, beams), -np.inf, np.float32)
    scores[:, 0] = 0
    prefixes = np.full((batch, beams, 1), model.config.bos_id)
    for step in range(6):
        ancestry = with_slots_of_this_step(ancestry)
        inputs = {
            "target_ids": np.ascontiguousarray(prefixes[:, :, -1]),
            "scores": scores,
            "position": np.array([step]),
            "ancestry": ancestry,
        }
        outputs = pair.step({**inputs, **cache, **memory})
        totals = uncached_totals(model, source_ids, prefixes, scores)
        check_candidates(outputs, totals)
        log_probs = torch.from_numpy(outputs["logits"]).log_softmax(dim=1).numpy()
        by_beam = scores[:, :, None] + log_probs.reshape(totals.shape)
        np.testing.assert_allclose(by_beam, totals, atol=1e-4)
        for name in layer_names("present", pair.layers):
            assert outputs[name].shape == (len(prefixes), heads, (step + 1) * beams, head_size)
        cache = {
            name.replace("present", "past"): outputs[name]
            for name in layer_names("present", pair.layers)
        }

        kept = np.arange(len(prefixes))
        if step in (1, 3) and len(kept) > 1:
            kept = np.sort(rng.permutation(kept)[:-1])  # a finished sentence leaves
        origins = rng.integers(0, beams, (len(kept), beams))
        tokens = rng.integers(0, model.config.target_vocab_size, (len(kept), beams, 1))
        prefixes = np.concatenate([prefixes[kept[:, None], origins], tokens], axis=2)
        ancestry = ancestry[kept[:, None], origins]
        source_ids, memory = source_ids[kept], {name: a[kept] for name, a in memory.items()}
        cache = {name: a[kept] for name, a in cache.items()}
        scores = rng.normal(size=(len(kept), beams)).astype(np.float32)


@torch.no_grad()
def check_memory(model: Transformer, source_ids: NDArray[np.int64], memory: Arrays) -> None:
    encoded, bias = model.encode(torch.from_numpy(source_ids))
    assert list(memory) == memory_names(len(model.decoder))
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


@pytest.mark.parametrize("sizes", SIZES)
def test_onnx_graphs(converted: tuple[Transformer, Graphs], sizes: tuple[int, int, int]) -> None:
    check_decoding(converted[0], OnnxPair(*converted), sizes)


def test_cross_attention_is_not_tiled_by_beam(converted: tuple[Transformer, Graphs]) -> None:
    """Nothing but attention itself may read the encoder's keys and values."""
    graph = converted[1].decoder.graph
    readers = [n.op_type for n in graph.node if any(i.startswith("cross_") for i in n.input)]
    assert readers == ["Attention"] * 2


def test_the_encoders_linear_layers_read_no_padding(converted: tuple[Transformer, Graphs]) -> None:
    model, graphs = converted
    encoder = onnx.ModelProto()
    encoder.CopyFrom(graphs.encoder)
    products = [n.output[0] for n in encoder.graph.node if n.op_type in ("Gemm", "MatMul")]
    assert len(products) == 4 * model.config.encoder_layers + 1
    encoder.graph.output.extend(onnx.ValueInfoProto(name=name) for name in products)
    session = onnxruntime.InferenceSession(
        encoder.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    pad, eos = model.config.pad_id, model.config.eos_id
    source_ids = np.array([[5, 6, 7, 8, eos], [9, eos, pad, pad, pad], [eos, *[pad] * 4]])
    rows = [result.shape[0] for result in session.run(products, {"source_ids": source_ids})]
    assert rows == [5 + 2 + 1] * len(products)
