"""Encoder and decoder as PyTorch modules and as ONNX graphs, fed and read in the same way."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from tfm.export.graphs.modules import DecoderGraph, EncoderGraph
from tfm.export.graphs.step import step_graph
from tfm.export.graphs.trace import Graphs, layer_names
from tfm.trainer.model import Transformer
from tfm.trainer.positions import sinusoidal_positions

Arrays = dict[str, NDArray[Any]]


class Pair:
    """An encoder and a decoder: arrays in and out, by the names in export/README.md."""

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
        return {k: v.numpy() for k, v in zip(memory_names(self.layers), outputs, strict=True)}

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
            tensors["ancestry"].unsqueeze(1),
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
            **{
                k: v.numpy()
                for k, v in zip(layer_names("present", self.layers), caches, strict=True)
            },
            "logits": logits.numpy(),
        }


class OnnxPair(Pair):
    def __init__(self, model: Transformer, graphs: Graphs) -> None:
        super().__init__(model)
        step = step_graph(graphs.decoder, model.config)
        onnx.checker.check_model(step, full_check=True)
        self.encoder, self.decoder = session(graphs.encoder), session(step)

    def encode(self, source_ids: NDArray[np.int64]) -> Arrays:
        return run_session(self.encoder, {"source_ids": source_ids})

    def step(self, inputs: Arrays) -> Arrays:
        return run_session(self.decoder, inputs)


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def run_session(session: onnxruntime.InferenceSession, inputs: Arrays) -> Arrays:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def padded_sources(model: Transformer, batch: int, length: int, seed: int) -> NDArray[np.int64]:
    """Random ids; every sentence but the longest is padded."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(4, model.config.source_vocab_size, (batch, length))
    for row, real in zip(ids[1:], rng.integers(1, length + 1, batch - 1), strict=True):
        row[real:] = model.config.pad_id
    return ids


def empty_cache(pair: Pair, batch: int) -> Arrays:
    return {
        name: np.zeros((batch, *pair.empty), np.float32)
        for name in layer_names("past", pair.layers)
    }


def with_slots_of_this_step(ancestry: NDArray[np.float32]) -> NDArray[np.float32]:
    """[B, K, E] to [B, K, E + K]: of the K slots that a step adds, every beam has its own."""
    batch, beams, _ = ancestry.shape
    own = np.where(np.eye(beams, dtype=bool), 0, -np.inf).astype(np.float32)
    return np.concatenate([ancestry, np.tile(own, (batch, 1, 1))], axis=2)


def memory_names(layers: int) -> list[str]:
    """Names of the encoder's outputs."""
    return [*layer_names("cross", layers), "source_bias"]
