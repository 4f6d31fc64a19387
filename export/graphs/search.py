"""translate.onnx: encoder, decoder and the whole search in one graph, token ids in and out.

The rules are those of runtime/search.py; rules.py has them as operators. Two loops: the inner
one makes COMPACTION_STEPS steps; between these phases the outer one takes finished sentences out
of the batch and dead slots out of the cache. A slot is dead when no beam descends from it any
more; most slots die within a few steps.

Shapes: B sentences still running, A all sentences, K beams, R hypotheses to return, T steps made,
P tokens of the target prefix, E slots of the cache, H heads, C head size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from tfm.runtime.options import DecodingOptions, declared_options
from tfm.trainer.config import TransformerConfig

from .builder import GraphBuilder, TensorTypes, type_of
from .candidates import Grid, grid
from .compact_cache import (
    COMPACTION_STEPS,
    SLOT_ALIGNMENT,
    compaction_metadata,
    gather_slots,
)
from .passes import move_constants_inward
from .rules import (
    BOOL,
    FLOAT,
    INT64,
    SearchArguments,
    choose,
    finish,
    padded_to,
    search_arguments,
    some_run,
)
from .step import model_metadata, position_encoding, source_bias_by_beam
from .trace import Graphs, layer_names

OPTIONS_KEY = "options"  # in the metadata: names of the optional inputs


def compose(
    graphs: Graphs,
    config: TransformerConfig,
    options: DecodingOptions,
    target_prefix: Sequence[int] = (),
) -> onnx.ModelProto:
    """Join the graphs of one variant into translate.onnx.

    Its only obligatory input is source_ids [A, S] int64. Every option that declares `graph` is an
    optional input of the option's name, with the model's own value as its default: [] int64 or
    float32, suppress_ids [X] int64, target_prefix [A or 1, P] int64.

    Outputs: output_ids [A, R, T] padded with pad_id, output_lengths [A, R] int64, and
    output_scores [A, R] float32, best first; -inf with length 0 where fewer hypotheses were
    found. Ids are without BOS, target prefix and, within the length, EOS.

    Args:
        options: the defaults
        target_prefix: the default of target_prefix, with a language's token where there is one
    """
    b = GraphBuilder()
    defaults = _option_inputs(b, options, target_prefix)
    arguments = search_arguments(b)
    memory_names = [output.name for output in graphs.encoder.graph.output]
    encoded = b.insert(graphs.encoder.graph, "encoder/", {"source_ids": "source_ids"}, memory_names)
    memory = dict(zip(memory_names, encoded, strict=True))
    element = cache_element(graphs.decoder)
    state = {**_start(b, config, arguments, element), **memory}
    types = _types(config, memory_names, element)
    final = b.loop(
        "",
        b.constant([True], np.bool_),
        state,
        lambda body, s, _: _phase(body, s, graphs.decoder, config, arguments, memory_names, types),
        types,
    )
    imports = {o.domain: o for _, graph in graphs for o in graph.opset_import}
    model = b.model(
        "translate",
        [helper.make_tensor_value_info("source_ids", INT64, ["A", "S"]), *defaults],
        {
            "output_ids": (_without_prefix(b, final["result_ids"], arguments), INT64,
                           ["A", "R", "T"]),
            "output_lengths": (_lengths(b, final["result_lengths"], arguments), INT64, ["A", "R"]),
            "output_scores": (final["result_scores"], FLOAT, ["A", "R"]),
        },
        list(imports.values()),
        graphs.decoder.ir_version,
    )  # fmt: skip
    metadata = {
        **compaction_metadata(),
        **model_metadata(config),
        OPTIONS_KEY: ",".join(v.name for v in defaults),
    }
    helper.set_model_props(model, metadata)
    return move_constants_inward(model)


def _option_inputs(
    b: GraphBuilder, options: DecodingOptions, target_prefix: Sequence[int]
) -> list[onnx.ValueInfoProto]:
    """Declare the optional inputs, whose defaults are initializers of the same names."""
    inputs = []
    for name, type_, spec in declared_options(type(options)):
        if not spec.graph:
            continue
        value: NDArray[Any]
        if name == "target_prefix":
            value = np.array([target_prefix], np.int64).reshape(1, -1)
        else:
            value = np.array(getattr(options, name), np.float32 if type_ is float else np.int64)
        shape = {"target_prefix": ["A or 1", "P"], "suppress_ids": ["X"]}.get(name, [])
        element = helper.np_dtype_to_tensor_dtype(value.dtype)
        inputs.append(helper.make_tensor_value_info(name, element, shape))
        b.initializers[name] = numpy_helper.from_array(value, name)
    return inputs


def _without_prefix(b: GraphBuilder, ids: str, arguments: SearchArguments) -> str:
    end = b.int64([np.iinfo(np.int64).max])
    name: str = b.Slice(ids, arguments.prefix_length, end, b.int64([2]))
    return name


def _lengths(b: GraphBuilder, lengths: str, arguments: SearchArguments) -> str:
    name: str = b.Max(b.Sub(lengths, arguments.prefix_length), b.int64([0]))
    return name


def cache_element(decoder: onnx.ModelProto) -> int:
    """Element type of the cache and of the encoder's keys and values."""
    types = {value.name: type_of(value)[0] for value in decoder.graph.input}
    return types["past_key.0"]


def _start(
    b: GraphBuilder, config: TransformerConfig, arguments: SearchArguments, element: int
) -> dict[str, str]:
    """The rule "start": one beam that holds only BOS; K - 1 that do not exist."""
    batch = b.size("source_ids", 0)
    by_beam = b.Concat(batch, arguments.beams, axis=0)
    by_hypothesis = b.Concat(batch, arguments.hypotheses, axis=0)
    nothing_by_row = b.Concat(b.Mul(batch, arguments.beams), b.int64([0]), axis=0)
    nothing_by_hypothesis = b.Concat(by_hypothesis, b.int64([0]), axis=0)
    by_sentence = b.Concat(batch, b.int64([1]), axis=0)
    first = b.Slice(arguments.own_slots, b.int64([0]), b.int64([1]))  # [1, K]: 0, -inf, -inf ...
    no_score = b.Expand(b.float32(-np.inf), by_hypothesis)
    no_length = b.Expand(b.int64(0), by_hypothesis)
    no_ids = b.Expand(b.int64(0), nothing_by_hypothesis)
    empty = b.Concat(
        batch, b.int64([config.num_heads, 0, config.d_model // config.num_heads]), axis=0
    )
    zero = b.constant(0, helper.tensor_dtype_to_np_dtype(element).type)
    cache = b.Expand(zero, empty)
    return {
        "target_ids": b.Expand(b.int64(config.bos_id), by_beam),
        "scores": b.Expand(first, by_beam),
        "position": b.int64([0]),
        "ancestry": b.Expand(b.float32(0), nothing_by_row),
        "sequences": b.Expand(b.int64(0), nothing_by_row),
        "pool_ids": no_ids,
        "pool_lengths": no_length,
        "pool_scores": no_score,
        "count": b.Expand(b.int64(0), by_sentence),
        "best_was_eos": b.Expand(b.constant(False, np.bool_), by_sentence),
        "running": b.Expand(b.constant(True, np.bool_), by_sentence),
        **dict.fromkeys(layer_names("past", config.decoder_layers), cache),
        "sentence": b.Range(b.int64(0), b.Squeeze(batch), b.int64(1)),
        "result_ids": no_ids,
        "result_lengths": no_length,
        "result_scores": no_score,
    }


def _types(config: TransformerConfig, memory_names: list[str], element: int) -> TensorTypes:
    heads, size = config.num_heads, config.d_model // config.num_heads
    types: TensorTypes = {
        "target_ids": (INT64, ["B", "K"]),
        "scores": (FLOAT, ["B", "K"]),
        "position": (INT64, [1]),
        "ancestry": (FLOAT, ["N", "E"]),
        "sequences": (INT64, ["N", "T"]),
        "pool_ids": (INT64, ["B", "R", "T'"]),
        "pool_lengths": (INT64, ["B", "R"]),
        "pool_scores": (FLOAT, ["B", "R"]),
        "count": (INT64, ["B", 1]),
        "best_was_eos": (BOOL, ["B", 1]),
        "running": (BOOL, ["B", 1]),
        "sentence": (INT64, ["B"]),
        "result_ids": (INT64, ["A", "R", "T"]),
        "result_lengths": (INT64, ["A", "R"]),
        "result_scores": (FLOAT, ["A", "R"]),
        "source_bias": (FLOAT, ["B", 1, 1, "S"]),
    }
    for name in layer_names("past", config.decoder_layers):
        types[name] = (element, ["B", heads, "E", size])
    for name in memory_names:
        if name.startswith("cross_"):
            types[name] = (element, ["B", heads, "S", size])
    return types


@dataclass(frozen=True, slots=True)
class Phase:
    """Tensors that every step of a phase reads and none changes."""

    grid: Grid
    own_slots: str  # [N, K] what the slots of a step add to the ancestry mask
    by_beam: str  # [4] the shape B, 1, K, -1
    encodings: str  # [COMPACTION_STEPS, D] of the positions of the phase
    first_rows_of_pool: str  # [B, 1] where each sentence's rows begin among R + K per sentence


def _phase_tensors(
    b: GraphBuilder, state: Mapping[str, str], config: TransformerConfig, arguments: SearchArguments
) -> Phase:
    batch, one = b.size(state["sentence"], 0), b.int64([1])
    positions = b.Add(state["position"], b.int64(np.arange(COMPACTION_STEPS)))
    sentences = b.Range(b.int64(0), b.Squeeze(batch), b.int64(1))
    per_sentence = b.Add(arguments.beams, arguments.hypotheses)
    return Phase(
        grid=grid(b, state["scores"], config.target_vocab_size),
        own_slots=b.Tile(arguments.own_slots, b.Concat(batch, one, axis=0)),
        by_beam=b.Concat(batch, one, arguments.beams, b.int64([-1]), axis=0),
        encodings=position_encoding(b, positions, config),
        first_rows_of_pool=b.Unsqueeze(b.Mul(sentences, per_sentence), one),
    )


def _phase(
    b: GraphBuilder,
    state: dict[str, str],
    decoder: onnx.ModelProto,
    config: TransformerConfig,
    arguments: SearchArguments,
    memory_names: list[str],
    types: TensorTypes,
) -> tuple[str, dict[str, str]]:
    """Body of the outer loop: compact, make a phase of steps, note what was finished."""
    state = _compact(b, state, config, arguments, memory_names)
    memory = {name: state[name] for name in memory_names}
    memory["source_bias"] = source_bias_by_beam(b, state["source_bias"], arguments.beams)
    phase = _phase_tensors(b, state, config, arguments)
    outside = {*memory_names, "sentence", "result_ids", "result_lengths", "result_scores"}
    sentence = state["sentence"]
    stepped = b.loop(
        b.int64([COMPACTION_STEPS]),
        b.constant([True], np.bool_),
        {name: tensor for name, tensor in state.items() if name not in outside},
        lambda body, s, number: _step(
            body, {**s, "sentence": sentence}, number, decoder, config, arguments, memory, phase,
            types,
        ),
        types,
    )  # fmt: skip
    state = {**state, **stepped}

    rows = b.Unsqueeze(sentence, b.int64([1]))
    for name in ("ids", "lengths", "scores"):
        result, pool = state[f"result_{name}"], state[f"pool_{name}"]
        if name == "ids":
            result = padded_to(b, result, state["position"], config)
            pool = padded_to(b, pool, state["position"], config)
        state[f"result_{name}"] = b.ScatterND(result, rows, pool)
    return some_run(b, state["running"], state["position"], arguments), state


def _compact(
    b: GraphBuilder,
    state: dict[str, str],
    config: TransformerConfig,
    arguments: SearchArguments,
    memory_names: list[str],
) -> dict[str, str]:
    """Keep the running sentences, and of the cache what some beam descends from."""
    batch = b.size(state["running"], 0)
    kept = b.Reshape(b.NonZero(b.Reshape(state["running"], b.int64([-1]))), b.int64([-1]))
    compacted = dict(state)
    for name in (
        *("target_ids", "scores", "pool_ids", "pool_lengths", "pool_scores"),
        *("count", "best_was_eos", "running", "sentence", *memory_names),
    ):
        compacted[name] = b.Gather(state[name], kept, axis=0)
    by_sentence = {}
    for name in ("ancestry", "sequences"):
        width = b.size(state[name], 1)
        # Every dimension is given: in the first phase width is 0, and ONNX forbids -1 beside it.
        split = b.Reshape(state[name], b.Concat(batch, arguments.beams, width, axis=0), allowzero=1)
        by_sentence[name] = b.Gather(split, kept, axis=0)  # [B, K, ...]
        rows = b.Concat(b.Mul(b.size(kept, 0), arguments.beams), width, axis=0)
        compacted[name] = b.Reshape(by_sentence[name], rows, allowzero=1)

    beams = b.Shape(compacted["scores"])
    spare = b.Concat(beams, b.int64([SLOT_ALIGNMENT - 1]), axis=0)
    dead = b.Expand(b.float32(-np.inf), spare)
    ancestry = b.Concat(by_sentence["ancestry"], dead, axis=2)  # [B, K, E + SLOT_ALIGNMENT - 1]
    alive = b.ReduceMax(ancestry, b.int64([1]), keepdims=0)  # [B, E + ...], 0 or -inf
    counts = b.ReduceSum(b.Cast(b.Equal(alive, b.float32(0)), to=INT64), b.int64([1]), keepdims=0)
    most = b.ReduceMax(counts, b.int64([0]), keepdims=1)
    blocks = b.Div(b.Add(most, b.int64([SLOT_ALIGNMENT - 1])), b.int64([SLOT_ALIGNMENT]))
    wanted = b.Mul(blocks, b.int64([SLOT_ALIGNMENT]))
    # Ties go to the lower index: the living in their order, then as many of the dead as needed.
    _, chosen = b.TopK(alive, wanted, outputs=2, axis=1)  # [B, E']
    by_beam = b.Expand(
        b.Unsqueeze(chosen, b.int64([1])),
        b.Concat(b.int64([1]), arguments.beams, b.int64([1]), axis=0),
    )
    by_row = b.Concat(b.Mul(b.size(kept, 0), arguments.beams), wanted, axis=0)
    compacted["ancestry"] = b.Reshape(
        b.GatherElements(ancestry, by_beam, axis=2), by_row, allowzero=1
    )
    pasts = layer_names("past", config.decoder_layers)
    caches = {name: state[name] for name in pasts}
    return {**compacted, **gather_slots(b, caches, kept, chosen)}


def _step(
    b: GraphBuilder,
    state: dict[str, str],
    number: str,
    decoder: onnx.ModelProto,
    config: TransformerConfig,
    arguments: SearchArguments,
    memory: Mapping[str, str],
    phase: Phase,
    types: TensorTypes,
) -> tuple[str, dict[str, str]]:
    """Body of the inner loop: one step of the decoder and the rules of the search."""
    pasts = layer_names("past", config.decoder_layers)
    presents = layer_names("present", config.decoder_layers)
    ancestry = b.Concat(state["ancestry"], phase.own_slots, axis=1)  # [N, E + K]
    logits, *caches = b.insert(
        decoder.graph,
        "decoder/",
        {
            **{name: state[name] for name in ("target_ids", *pasts)},
            **memory,
            "position_encoding": b.Gather(phase.encodings, number, axis=0),
            "ancestry": b.Reshape(ancestry, phase.by_beam),
        },
        ["logits", *presents],
    )
    length = b.Add(state["position"], b.int64([1]))
    choice = choose(b, logits, state, config, arguments, phase.grid)
    last = b.Equal(length, arguments.last_length)
    no_eos_in_best = b.Greater(choice["lowest"], b.float32([-np.inf]))  # false for NaN too
    needs_finish = b.Or(last, b.Not(no_eos_in_best))
    names = ("pool_ids", "pool_lengths", "pool_scores", "count", "best_was_eos", "running")
    before = {name: state[name] for name in names}
    after = b.branch(
        needs_finish,
        lambda body: finish(
            body, {**before, **choice}, state["sequences"], length, last, config, arguments,
            phase.first_rows_of_pool,
        ),
        lambda body: {"goes_on": body.constant([True], np.bool_), **before},
        {"goes_on": (BOOL, [1]), **types},
    )  # fmt: skip
    goes_on = after.pop("goes_on")
    continued = b.Gather(state["sequences"], choice["next_rows"], axis=0)
    tokens = b.Reshape(choice["next_ids"], b.int64([-1, 1]))
    return goes_on, {
        "target_ids": choice["next_ids"],
        "scores": choice["next_scores"],
        "position": length,
        "ancestry": b.Gather(ancestry, choice["next_rows"], axis=0),
        "sequences": b.Concat(continued, tokens, axis=1),
        **after,
        **dict(zip(pasts, caches, strict=True)),
    }
