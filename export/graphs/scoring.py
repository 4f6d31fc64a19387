"""score.onnx: one pass over a source and a given target, from the graphs that also decode.

Every token of the target is computed at once, each seeing those before it (teacher forcing):
the step's beams are the target's positions here, and the ancestry mask is a triangle. What the
graph says is therefore what the deployed model computes, in whichever precision.

A decoder with SSRU has no positions side by side; it makes its steps one after the other.

Shapes: B pairs, S source length, T target length, N = B x T rows, H heads, D d_model, V vocabulary,
L encoder layers, M decoder layers.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from tfm.trainer.config import TransformerConfig

from .builder import GraphBuilder, TensorTypes
from .decoder_state import decoder_state, state_element
from .passes import hoist_invariants, move_constants_inward
from .step import model_metadata, position_encoding, source_bias_by_beam
from .trace import Graphs

INT64, FLOAT = TensorProto.INT64, TensorProto.FLOAT
AFTER_SOFTMAX = 3  # which of Attention's matrices is its fourth output


def scoring_graph(graphs: Graphs, config: TransformerConfig) -> onnx.ModelProto:
    """Join encoder and decoder of one variant into score.onnx.

    Inputs: source_ids [B, S] int64, padded with pad_id; target_ids [B, T] int64, the tokens to be
    scored, with what a target begins with after BOS and with EOS; padded with any id.

    Outputs, all float32: log_probs [B, T], of each token given the source and the tokens before
    it; encoder_attention [L, B, H, S, S]; decoder_attention [M, B, H, T, T] (with SSRU [0, ...]);
    cross_attention [M, B, H, T, S]. In an attention the last axis is what is looked at, and row t
    belongs to the step that predicts token t, whose input is the token before it.
    """
    b = GraphBuilder()
    memory_names = [output.name for output in graphs.encoder.graph.output]
    encoder, looks = _with_attention(graphs.encoder)
    inserted = b.insert(encoder, "encoder/", {"source_ids": "source_ids"}, [*memory_names, *looks])
    memory = dict(zip(memory_names, inserted, strict=False))
    source = b.size("source_ids", 1)
    by_layer = inserted[len(memory_names) :]
    outputs = {"encoder_attention": _stacked(b, by_layer, config, source, source)}
    recurrent = config.decoder_autoregression == "ssru"
    decode = _recurrent if recurrent else _side_by_side
    outputs = {**decode(b, graphs, config, memory), **outputs}
    imports = {o.domain: o for _, graph in graphs for o in graph.opset_import}
    model = b.model(
        "score",
        [
            helper.make_tensor_value_info("source_ids", INT64, ["B", "S"]),
            helper.make_tensor_value_info("target_ids", INT64, ["B", "T"]),
        ],
        {name: (outputs[name], FLOAT, shape) for name, shape in _shapes(config).items()},
        list(imports.values()),
        graphs.decoder.ir_version,
    )
    helper.set_model_props(model, model_metadata(config))
    return move_constants_inward(hoist_invariants(model)) if recurrent else model


def _shapes(config: TransformerConfig) -> dict[str, list[int | str]]:
    """The outputs of score.onnx."""
    heads, layers = config.num_heads, config.decoder_layers
    own = 0 if config.decoder_autoregression == "ssru" else layers
    return {
        "log_probs": ["B", "T"],
        "encoder_attention": [config.encoder_layers, "B", heads, "S", "S"],
        "decoder_attention": [own, "B", heads, "T", "T"],
        "cross_attention": [layers, "B", heads, "T", "S"],
    }


def _side_by_side(
    b: GraphBuilder, graphs: Graphs, config: TransformerConfig, memory: Mapping[str, str]
) -> dict[str, str]:
    """The outputs beside encoder_attention, all positions at once: an empty cache, and as many
    beams as positions."""
    batch, length = b.size("target_ids", 0), b.size("target_ids", 1)
    one = b.int64([1])
    places = b.Range(b.int64(0), b.Squeeze(length), b.int64(1))
    is_later = b.Less(b.Unsqueeze(places, one), b.Unsqueeze(places, b.int64([0])))  # [T, T]
    causal = b.Where(is_later, b.float32(-np.inf), b.float32(0))
    encodings = b.Tile(position_encoding(b, places, config), b.Concat(batch, one, axis=0))
    state = decoder_state(config)
    empty = state.start(b, batch, length, state_element(graphs.decoder))
    decoder, looks = _with_attention(graphs.decoder)
    logits, *attention = b.insert(
        decoder,
        "decoder/",
        {
            **{name: memory[name] for name in memory if name.startswith("cross_")},
            **{name: empty[name] for name in state.pasts},
            "target_ids": _inputs_of_steps(b, config),
            "position_encoding": encodings,
            "ancestry": b.Expand(causal, b.Concat(batch, one, length, length, axis=0)),
            "source_bias": source_bias_by_beam(b, memory["source_bias"], length),
        },
        ["logits", *looks],
    )
    own = [tensor for tensor, kind in zip(attention, looks.values(), strict=True) if kind == "own"]
    cross = [tensor for tensor in attention if tensor not in own]
    rows = b.Reshape("target_ids", b.int64([-1, 1]))
    log_probs = b.GatherElements(b.LogSoftmax(logits, axis=1), rows, axis=1)  # [N, 1]
    return {
        "log_probs": b.Reshape(log_probs, b.Shape("target_ids")),
        "decoder_attention": _stacked(b, own, config, length, length),
        "cross_attention": _stacked(b, cross, config, length, b.size("source_ids", 1)),
    }


def _recurrent(
    b: GraphBuilder, graphs: Graphs, config: TransformerConfig, memory: Mapping[str, str]
) -> dict[str, str]:
    """The same outputs, position after position."""
    one, always = b.int64([1]), b.constant([True], np.bool_)
    batch, length = b.size("target_ids", 0), b.size("target_ids", 1)
    source = b.size("source_ids", 1)
    element = state_element(graphs.greedy_decoder)
    remembered = decoder_state(config)
    decoder, looks = _with_attention(graphs.greedy_decoder)
    previous = _inputs_of_steps(b, config)
    heads = b.int64([config.num_heads])
    look_shape = b.Concat(batch, heads, one, source, axis=0)
    types: TensorTypes = {
        **remembered.types(element),
        "log_prob": (FLOAT, ["B", 1]),
        **{name: (FLOAT, ["B", config.num_heads, 1, "S"]) for name in looks},
    }

    def step(b: GraphBuilder, carried: dict[str, str], number: str) -> tuple[str, dict[str, str]]:
        place = b.Reshape(number, one)
        logits, *made = b.insert(
            decoder,
            "decoder/",
            {
                **memory,
                **{name: carried[name] for name in remembered.pasts},
                "target_ids": b.Gather(previous, place, axis=1),
                "position_encoding": position_encoding(b, place, config),
            },
            ["logits", *remembered.presents, *looks],
        )
        presents, attention = made[: len(remembered.presents)], made[len(remembered.presents) :]
        token = b.Gather("target_ids", place, axis=1)
        by_layer = (b.Reshape(b.Cast(look, to=FLOAT), look_shape) for look in attention)
        return b.Identity(always), {
            **dict(zip(remembered.pasts, presents, strict=True)),
            "log_prob": b.GatherElements(b.LogSoftmax(logits, axis=1), token, axis=1),
            **dict(zip(looks, by_layer, strict=True)),
        }

    start = remembered.start(b, batch, one, element)
    state = {name: start[name] for name in remembered.pasts}
    final = b.loop(length, always, state, step, types, ["log_prob", *looks])
    log_probs = b.Transpose(b.Squeeze(final["log_prob"], b.int64([2])), perm=[1, 0])
    # [T, B, H, 1, S] to [B, H, T, S]
    cross = [b.Transpose(b.Squeeze(final[name], b.int64([3])), perm=[1, 2, 0, 3]) for name in looks]
    return {
        "log_probs": log_probs,
        "decoder_attention": _stacked(b, [], config, length, length),
        "cross_attention": _stacked(b, cross, config, length, source),
    }


def _inputs_of_steps(b: GraphBuilder, config: TransformerConfig) -> str:
    """BOS, and every target token but the last: [B, T]."""
    batch, one = b.size("target_ids", 0), b.int64([1])
    begin = b.Expand(b.int64(config.bos_id), b.Concat(batch, one, axis=0))
    all_tokens = b.Concat(begin, "target_ids", axis=1)
    name: str = b.Slice(all_tokens, b.int64([0]), b.int64([-1]), one)
    return name


def _stacked(
    b: GraphBuilder, layers: Sequence[str], config: TransformerConfig, queries: str, keys: str
) -> str:
    """[layers, B, H, queries, keys] float32, of one tensor per layer; the last two are [1]."""
    count, heads = b.int64([len(layers)]), b.int64([config.num_heads])
    shape = b.Concat(count, b.size("source_ids", 0), heads, queries, keys, axis=0)
    if not layers:
        nothing: str = b.Expand(b.float32(0), shape)
        return nothing
    together = b.Concat(*(b.Cast(layer, to=FLOAT) for layer in layers), axis=0)
    # The shape is said, because ONNX Runtime infers a wrong one for what Attention looked at.
    name: str = b.Reshape(together, shape, allowzero=1)
    return name


def _with_attention(model: onnx.ModelProto) -> tuple[onnx.GraphProto, dict[str, str]]:
    """A copy of the graph whose Attention operators give out what they attend with.

    Returns:
        the graph, and by name of each such tensor [B, H, queries, keys], in the order of layers,
        "own" for self-attention and "cross" for attention to the source
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    looks: dict[str, str] = {}
    for node in copy.graph.node:
        if node.op_type != "Attention":
            continue
        name = f"attention.{len(looks)}"
        looks[name] = "cross" if _reads_cross_keys(node, copy.graph) else "own"
        outputs = [*node.output, "", "", ""][:3]
        del node.output[:]
        node.output.extend([*outputs, name])
        node.attribute.append(helper.make_attribute("qk_matmul_output_mode", AFTER_SOFTMAX))
    return copy.graph, looks


def _reads_cross_keys(node: NodeProto, graph: onnx.GraphProto) -> bool:
    """Whether an Attention's keys come from the encoder, through nothing but casts."""
    made_by = {output: other for other in graph.node for output in other.output}
    key = node.input[1]
    while key in made_by and made_by[key].op_type in ("Cast", "Identity"):
        key = made_by[key].input[0]
    return str(key).startswith("cross_key")
