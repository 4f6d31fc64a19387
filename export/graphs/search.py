"""translate.onnx: encoder, decoder and the whole search in one graph, token ids in and out.

The rules are those of runtime/search.py; rules.py has them as operators. Two loops: the inner
one makes steps until a share of its sentences has finished, but at most to the next multiple of
COMPACTION_STEPS; between these phases the outer one takes finished sentences out of the batch and,
at a multiple of COMPACTION_STEPS, dead slots out of the cache. A slot is dead when no beam descends
from it any more; most slots die within a few steps.

Shapes: B sentences still running, A all sentences, K beams, R hypotheses to return, T steps made,
P tokens of the target prefix, E slots of the cache, H heads, C head size.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from tfm.runtime.graph_contract import SHORTLIST
from tfm.runtime.options import DecodingOptions, declared_options
from tfm.trainer.config import TransformerConfig

from .builder import GraphBuilder, TensorTypes
from .cache_slots import COMPACTION_STEPS
from .candidates import Grid, grid, listed_grid, listed_output
from .decoder_state import DecoderState, decoder_state, kept_rows, state_element
from .passes import hoist_invariants, move_constants_inward
from .rules import (
    BOOL,
    FLOAT,
    INT64,
    SearchArguments,
    choose,
    fewest_running,
    finish,
    padded_to,
    search_arguments,
    some_run,
)
from .step import model_metadata, position_encoding, source_bias_by_beam
from .trace import Graphs

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
    defaults = option_inputs(b, options, target_prefix)
    arguments = search_arguments(b)
    memory_names = [output.name for output in graphs.encoder.graph.output]
    encoded = b.insert(graphs.encoder.graph, "encoder/", {"source_ids": "source_ids"}, memory_names)
    memory = dict(zip(memory_names, encoded, strict=True))
    remembered, element = decoder_state(config), state_element(graphs.decoder)
    state = {**_start(b, config, arguments, remembered, element), **memory}
    types = {**_types(config, memory_names, element), **remembered.types(element)}
    final = b.loop(
        "",
        b.constant([True], np.bool_),
        state,
        lambda body, s, _: _phase(
            body, s, graphs.decoder, config, remembered, arguments, memory_names, types
        ),
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
        **remembered.metadata(),
        **model_metadata(config),
        OPTIONS_KEY: ",".join(v.name for v in defaults),
    }
    helper.set_model_props(model, metadata)
    return move_constants_inward(hoist_invariants(model))


def option_inputs(
    b: GraphBuilder,
    options: DecodingOptions,
    target_prefix: Sequence[int],
    names: Collection[str] | None = None,
) -> list[onnx.ValueInfoProto]:
    """Declare the optional inputs, whose defaults are initializers of the same names.

    Args:
        names: those wanted; None is all that declare `graph`
    """
    inputs = []
    for name, type_, spec in declared_options(type(options)):
        if not spec.graph or (names is not None and name not in names):
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


def _start(
    b: GraphBuilder,
    config: TransformerConfig,
    arguments: SearchArguments,
    remembered: DecoderState,
    element: int,
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
    return {
        "target_ids": b.Expand(b.int64(config.bos_id), by_beam),
        "scores": b.Expand(first, by_beam),
        "position": b.int64([0]),
        "sequences": b.Expand(b.int64(0), nothing_by_row),
        "pool_ids": no_ids,
        "pool_lengths": no_length,
        "pool_scores": no_score,
        "count": b.Expand(b.int64(0), by_sentence),
        "best_was_eos": b.Expand(b.constant(False, np.bool_), by_sentence),
        "running": b.Expand(b.constant(True, np.bool_), by_sentence),
        **remembered.start(b, batch, arguments.beams, element),
        "sentence": b.Range(b.int64(0), b.Squeeze(batch), b.int64(1)),
        "result_ids": no_ids,
        "result_lengths": no_length,
        "result_scores": no_score,
    }


def _types(config: TransformerConfig, memory_names: list[str], element: int) -> TensorTypes:
    types: TensorTypes = {
        "target_ids": (INT64, ["B", "K"]),
        "scores": (FLOAT, ["B", "K"]),
        "position": (INT64, [1]),
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
    }
    return {**types, **memory_types(config, memory_names, element)}


def memory_types(
    config: TransformerConfig, memory_names: Sequence[str], element: int
) -> TensorTypes:
    """Element type and shape of the encoder's outputs."""
    heads, size = config.num_heads, config.d_model // config.num_heads
    types: TensorTypes = {"source_bias": (FLOAT, ["B", 1, 1, "S"])}
    for name in memory_names:
        if name.startswith("cross_"):
            types[name] = (element, ["B", heads, "S", size])
    if SHORTLIST in memory_names:
        types[SHORTLIST] = (onnx.TensorProto.UINT8, ["B", config.target_vocab_size])
    return types


@dataclass(frozen=True, slots=True)
class Phase:
    """Tensors that every step of a phase reads and none changes."""

    grid: Grid
    remembered: dict[str, str]  # DecoderState.phase_tensors
    encodings: str  # [COMPACTION_STEPS, D] of the positions of the phase
    first_rows_of_pool: str  # [B, 1] where each sentence's rows begin among R + K per sentence
    fewest: str  # [1] how many sentences still run when the phase ends


def _phase_tensors(
    b: GraphBuilder,
    state: Mapping[str, str],
    config: TransformerConfig,
    remembered: DecoderState,
    arguments: SearchArguments,
) -> Phase:
    batch, one = b.size(state["sentence"], 0), b.int64([1])
    positions = b.Add(state["position"], b.int64(np.arange(COMPACTION_STEPS)))
    sentences = b.Range(b.int64(0), b.Squeeze(batch), b.int64(1))
    per_sentence = b.Add(arguments.beams, arguments.hypotheses)
    return Phase(
        grid=grid(b, state["scores"], config.target_vocab_size),
        remembered=remembered.phase_tensors(b, batch, arguments.beams, arguments.own_slots),
        encodings=position_encoding(b, positions, config),
        first_rows_of_pool=b.Unsqueeze(b.Mul(sentences, per_sentence), one),
        fewest=fewest_running(b, batch),
    )


def _phase(
    b: GraphBuilder,
    state: dict[str, str],
    decoder: onnx.ModelProto,
    config: TransformerConfig,
    remembered: DecoderState,
    arguments: SearchArguments,
    memory_names: list[str],
    types: TensorTypes,
) -> tuple[str, dict[str, str]]:
    """Body of the outer loop: compact, make a phase of steps, note what was finished."""
    state = _compact(b, state, remembered, arguments, memory_names)
    memory = {name: state[name] for name in memory_names}
    memory["source_bias"] = source_bias_by_beam(b, state["source_bias"], arguments.beams)
    phase = _phase_tensors(b, state, config, remembered, arguments)
    outside = {*memory_names, "sentence", "result_ids", "result_lengths", "result_scores"}
    sentence = state["sentence"]
    steps = b.int64([COMPACTION_STEPS])
    stepped = b.loop(
        b.Sub(steps, b.Mod(state["position"], steps)),
        b.constant([True], np.bool_),
        {name: tensor for name, tensor in state.items() if name not in outside},
        lambda body, s, number: _step(
            body, {**s, "sentence": sentence}, number, decoder, config, remembered, arguments,
            memory, phase, types,
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
    remembered: DecoderState,
    arguments: SearchArguments,
    memory_names: list[str],
) -> dict[str, str]:
    """Keep the running sentences, and of what is remembered what some beam descends from."""
    by_sentence = b.Concat(b.size(state["running"], 0), arguments.beams, axis=0)
    kept = b.Reshape(b.NonZero(b.Reshape(state["running"], b.int64([-1]))), b.int64([-1]))
    is_due = b.Equal(b.Mod(state["position"], b.int64([COMPACTION_STEPS])), b.int64([0]))
    compacted = dict(state)
    for name in (
        *("target_ids", "scores", "pool_ids", "pool_lengths", "pool_scores"),
        *("count", "best_was_eos", "running", "sentence", *memory_names),
    ):
        compacted[name] = b.Gather(state[name], kept, axis=0)
    sequences = kept_rows(b, state["sequences"], kept, by_sentence)
    rows = b.Mul(b.size(kept, 0), arguments.beams)
    by_row = b.Concat(rows, b.size(state["sequences"], 1), axis=0)
    compacted["sequences"] = b.Reshape(sequences, by_row, allowzero=1)
    return {**compacted, **remembered.compact(b, state, kept, by_sentence, is_due)}


def _step(
    b: GraphBuilder,
    state: dict[str, str],
    number: str,
    decoder: onnx.ModelProto,
    config: TransformerConfig,
    remembered: DecoderState,
    arguments: SearchArguments,
    memory: Mapping[str, str],
    phase: Phase,
    types: TensorTypes,
) -> tuple[str, dict[str, str]]:
    """Body of the inner loop: one step of the decoder and the rules of the search."""
    carried, feeds = remembered.begin_step(b, state, phase.remembered)
    logits, *presents = b.insert(
        decoder.graph,
        "decoder/",
        {
            **feeds,
            **memory,
            "target_ids": state["target_ids"],
            "position_encoding": b.Gather(phase.encodings, number, axis=0),
        },
        ["logits", *remembered.presents, *listed_output(decoder)],
    )
    cells = phase.grid
    if listed_output(decoder):
        cells = listed_grid(b, cells, presents.pop())
    length = b.Add(state["position"], b.int64([1]))
    choice = choose(b, logits, state, config, arguments, phase.grid, cells)
    last = b.Equal(length, arguments.last_length)
    no_eos_in_best = b.Greater(choice["lowest"], b.float32([-np.inf]))  # false for NaN too
    needs_finish = b.Or(last, b.Not(no_eos_in_best))
    names = ("pool_ids", "pool_lengths", "pool_scores", "count", "best_was_eos", "running")
    before = {name: state[name] for name in names}
    after = b.branch(
        needs_finish,
        lambda body: finish(
            body, {**before, **choice}, state["sequences"], length, last, config, arguments,
            phase.first_rows_of_pool, phase.fewest,
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
        "sequences": b.Concat(continued, tokens, axis=1),
        **after,
        **remembered.end_step(b, carried, presents, choice["next_rows"]),
    }
