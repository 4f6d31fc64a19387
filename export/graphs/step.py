"""decoder.onnx: one step of decoding, from the beams' last tokens to the next candidates.

Shapes: B sentences, K beams, E slots of the cache, D d_model.
"""

import math

import numpy as np
import onnx
from onnx import TensorProto, helper

from tfm.runtime.graph_contract import DIMENSIONS, SHORTLIST, SPECIAL_IDS
from tfm.trainer.config import TransformerConfig
from tfm.trainer.positions import position_frequencies

from .builder import GraphBuilder
from .candidates import best_candidates, every_column, grid, listed_output
from .decoder_state import decoder_state, state_element

INT64, FLOAT = TensorProto.INT64, TensorProto.FLOAT


def step_graph(decoder: onnx.ModelProto, config: TransformerConfig) -> onnx.ModelProto:
    """Complete the decoder: position encodings before its layers, candidates after its logits.

    Inputs: target_ids [B, K] int64, scores [B, K], position [1] int64 (how many steps came
    before); then how beams were reordered. With self-attention that is ancestry [B, K, E + K] (0
    where a beam descends from a slot of the cache and -inf elsewhere; the last K slots are the ones
    that this step adds, one per beam), with SSRU beam_origin [B, K] int64 (the beam of the step
    before that each goes on from). Then past_*, and the encoder's outputs as the decoder has them.
    Outputs: candidate_scores, candidate_ids, candidate_origins [B, 2K], best first, origins being
    beams; then present_*; then logits [N, V], for rules on them.
    """
    b = GraphBuilder()
    state = decoder_state(config)
    types = state.step_types(state_element(decoder))
    memory = [
        value
        for value in decoder.graph.input
        if value.name.startswith("cross_") or value.name == SHORTLIST
    ]
    outputs = ["logits", *state.presents, *listed_output(decoder)]
    logits, *presents = b.insert(
        decoder.graph,
        "layers/",
        {
            **{value.name: value.name for value in memory},
            **state.step_feeds(b),
            "target_ids": "target_ids",
            "position_encoding": position_encoding(b, "position", config),
            "source_bias": source_bias_by_beam(b, "source_bias", b.size("scores", 1)),
        },
        outputs,
    )
    if listed_output(decoder):
        logits = every_column(b, logits, presents.pop(), config.target_vocab_size)
    cells = grid(b, "scores", config.target_vocab_size)
    best = best_candidates(b, logits, "scores", cells)
    origins = b.Mod(best.rows, b.size("scores", 1))
    candidates = {"scores": (best.scores, FLOAT), "ids": (best.ids, INT64),
                  "origins": (origins, INT64)}  # fmt: skip
    model = b.model(
        "decoder",
        [
            helper.make_tensor_value_info("target_ids", INT64, ["B", "K"]),
            helper.make_tensor_value_info("scores", FLOAT, ["B", "K"]),
            helper.make_tensor_value_info("position", INT64, [1]),
            state.step_input(),
            *(helper.make_tensor_value_info(name, *types[name]) for name in state.pasts),
            *memory,
            helper.make_tensor_value_info("source_bias", FLOAT, ["B", 1, 1, "S"]),
        ],
        {
            **{
                f"candidate_{name}": (tensor, element, ["B", "2*K"])
                for name, (tensor, element) in candidates.items()
            },
            **{
                name: (tensor, *types[name])
                for name, tensor in state.step_results(b, presents).items()
            },
            "logits": (logits, FLOAT, ["N", config.target_vocab_size]),
        },
        decoder.opset_import,
        decoder.ir_version,
    )
    helper.set_model_props(model, {**state.metadata(), **model_metadata(config)})
    return model


def model_metadata(config: TransformerConfig) -> dict[str, str]:
    """What the graphs were made with, which the runtime compares with config.json."""
    return {name: str(getattr(config, name)) for name in (*SPECIAL_IDS, *DIMENSIONS)}


def source_bias_by_beam(b: GraphBuilder, source_bias: str, beams: str) -> str:
    """Repeat the encoder's source_bias [B, 1, 1, S] for every beam: [B, 1, K, S].

    Args:
        beams: [1] K
    """
    one = b.int64([1])
    name: str = b.Expand(source_bias, b.Concat(one, one, beams, one, axis=0))
    return name


def position_encoding(b: GraphBuilder, positions: str, config: TransformerConfig) -> str:
    """Compute the encodings of some positions, as trainer.positions.sinusoidal_positions does.

    Args:
        positions: [P] int64, counted from 0

    Returns:
        [P, D]: sin(p f), cos(p f) = sin(p f + pi / 2), ... for the D / 2 frequencies f
    """
    half = config.d_model // 2
    frequencies = position_frequencies(config).float().numpy()
    phases = np.array([0, math.pi / 2], np.float32)
    if config.positions == "paper":  # sines and cosines alternate
        frequencies, phases = frequencies.repeat(2), np.tile(phases, half)
    else:
        frequencies, phases = np.tile(frequencies, 2), phases.repeat(half)
    if config.first_position:
        positions = b.Add(positions, b.int64(config.first_position))
    by_row = b.Unsqueeze(b.Cast(positions, to=FLOAT), b.int64([1]))
    angles = b.Add(b.Mul(by_row, b.float32(frequencies)), b.float32(phases))
    name: str = b.Sin(angles)
    return name
