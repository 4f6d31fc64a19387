"""translate.onnx: encoder, decoder and the whole search in one graph, token ids in and out.

The rules are those of runtime/search.py, by number in the comments. Two loops: the inner one makes
PHASE steps; between its phases the outer one takes finished sentences out of the batch and dead
entries out of the cache. An entry is dead when no beam descends from it any more, which is
the fate of most within a few steps.

Shapes: B sentences still running, A all sentences, K beams, R hypotheses to return, T steps made,
E entries of the cache, H heads, C head size.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from tfm.runtime.sessions import ALIGNMENT, PHASE
from tfm.trainer.config import TransformerConfig

from .builder import GraphBuilder, type_of
from .candidates import Candidates, Grid, best_candidates, best_token, grid
from .compact_cache import gather_entries
from .step import position_encoding, source_bias_by_beam
from .trace import Graphs, layer_names

INT64, FLOAT, BOOL = TensorProto.INT64, TensorProto.FLOAT, TensorProto.BOOL
Kinds = dict[str, tuple[int, list[int | str]]]


def compose(graphs: Graphs, config: TransformerConfig) -> onnx.ModelProto:
    """Join the graphs of one variant into translate.onnx.

    Inputs: source_ids [A, S], beam_size [], num_hypotheses [] (at most beam_size), max_length []
    (tokens without EOS), all int64; length_penalty [] float32; and where the model's targets begin
    with a language's tag (rule 8), first_ids [A] int64.
    Outputs: output_ids [A, R, T] padded with pad_id, output_lengths [A, R] int64, and output_scores
    [A, R] float32, best first; -inf with length 0 where fewer hypotheses were found.
    """
    b = GraphBuilder()
    shared = _arguments(b)
    memory_names = [output.name for output in graphs.encoder.graph.output]
    encoded = b.insert(graphs.encoder.graph, "encoder/", {"source_ids": "source_ids"}, memory_names)
    memory = dict(zip(memory_names, encoded, strict=True))
    element = cache_element(graphs.decoder)
    state = {**_beginning(b, config, shared, element), **memory}
    kinds = _kinds(config, memory_names, element)
    final = b.loop(
        "",
        b.constant([True], np.bool_),
        state,
        lambda body, s, _: _phase(body, s, graphs.decoder, config, shared, memory_names, kinds),
        kinds,
    )
    imports = {o.domain: o for _, graph in graphs for o in graph.opset_import}
    return b.model(
        "translate",
        [
            helper.make_tensor_value_info("source_ids", INT64, ["A", "S"]),
            *(
                helper.make_tensor_value_info(name, INT64, [])
                for name in ("beam_size", "num_hypotheses", "max_length")
            ),
            helper.make_tensor_value_info("length_penalty", FLOAT, []),
            *(
                helper.make_tensor_value_info("first_ids", INT64, ["A"])
                for _ in config.target_language_ids
            ),
        ],
        {
            "output_ids": (final["result_ids"], INT64, ["A", "R", "T"]),
            "output_lengths": (final["result_lengths"], INT64, ["A", "R"]),
            "output_scores": (final["result_scores"], FLOAT, ["A", "R"]),
        },
        list(imports.values()),
        graphs.decoder.ir_version,
    )


@dataclass(frozen=True, slots=True)
class Arguments:
    """Tensors that every step reads and none changes: [1] each unless said otherwise."""

    beams: str
    hypotheses: str
    max_length: str
    length_penalty: str  # []
    greedy: str  # bool: K = 1
    itself: str  # [K, K] float: 0 on the diagonal, -inf elsewhere
    enough: str  # finished hypotheses at which a sentence may end
    not_free: str  # bool: length_penalty is not 0


def _arguments(b: GraphBuilder) -> Arguments:
    one = b.int64([1])
    beams = b.Reshape("beam_size", one)
    hypotheses = b.Reshape("num_hypotheses", one)
    columns = b.Range(b.int64(0), "beam_size", b.int64(1))
    diagonal = b.Equal(b.Unsqueeze(columns, b.int64([1])), columns)
    free = b.Equal("length_penalty", b.float32(0))
    return Arguments(
        beams=beams,
        hypotheses=hypotheses,
        max_length=b.Reshape("max_length", one),
        length_penalty="length_penalty",
        greedy=b.Equal(beams, one),
        itself=b.Where(diagonal, b.float32(0), b.float32(-np.inf)),
        enough=b.Where(free, hypotheses, beams),
        not_free=b.Not(free),
    )


def cache_element(decoder: onnx.ModelProto) -> int:
    """Element type of the cache and of the encoder's keys and values."""
    types = {value.name: type_of(value)[0] for value in decoder.graph.input}
    return types["past_key.0"]


def _beginning(
    b: GraphBuilder, config: TransformerConfig, shared: Arguments, element: int
) -> dict[str, str]:
    """Rule 1: one beam that holds only BOS; K - 1 that are not there."""
    batch = b.size("source_ids", 0)
    by_beam = b.Concat(batch, shared.beams, axis=0)
    by_hypothesis = b.Concat(batch, shared.hypotheses, axis=0)
    nothing_by_row = b.Concat(b.Mul(batch, shared.beams), b.int64([0]), axis=0)
    nothing_by_hypothesis = b.Concat(by_hypothesis, b.int64([0]), axis=0)
    by_sentence = b.Concat(batch, b.int64([1]), axis=0)
    first = b.Slice(shared.itself, b.int64([0]), b.int64([1]))  # [1, K]: 0, -inf, -inf ...
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
        "history": b.Expand(b.float32(0), nothing_by_row),
        "sequences": b.Expand(b.int64(0), nothing_by_row),
        "pool_ids": no_ids,
        "pool_lengths": no_length,
        "pool_scores": no_score,
        "count": b.Expand(b.int64(0), by_sentence),
        "best_was_eos": b.Expand(b.constant(False, np.bool_), by_sentence),
        "running": b.Expand(b.constant(True, np.bool_), by_sentence),
        **dict.fromkeys(layer_names("past", config.decoder_layers), cache),
        "place": b.Range(b.int64(0), b.Squeeze(batch), b.int64(1)),
        "result_ids": no_ids,
        "result_lengths": no_length,
        "result_scores": no_score,
    }


def _kinds(config: TransformerConfig, memory_names: list[str], element: int) -> Kinds:
    heads, size = config.num_heads, config.d_model // config.num_heads
    kinds: Kinds = {
        "target_ids": (INT64, ["B", "K"]),
        "scores": (FLOAT, ["B", "K"]),
        "position": (INT64, [1]),
        "history": (FLOAT, ["N", "E"]),
        "sequences": (INT64, ["N", "T"]),
        "pool_ids": (INT64, ["B", "R", "P"]),
        "pool_lengths": (INT64, ["B", "R"]),
        "pool_scores": (FLOAT, ["B", "R"]),
        "count": (INT64, ["B", 1]),
        "best_was_eos": (BOOL, ["B", 1]),
        "running": (BOOL, ["B", 1]),
        "place": (INT64, ["B"]),
        "result_ids": (INT64, ["A", "R", "T"]),
        "result_lengths": (INT64, ["A", "R"]),
        "result_scores": (FLOAT, ["A", "R"]),
        "source_bias": (FLOAT, ["B", 1, 1, "S"]),
    }
    for name in layer_names("past", config.decoder_layers):
        kinds[name] = (element, ["B", heads, "E", size])
    for name in memory_names:
        if name.startswith("cross_"):
            kinds[name] = (element, ["B", heads, "S", size])
    return kinds


@dataclass(frozen=True, slots=True)
class Phase:
    """Tensors that every step of a phase reads and none changes."""

    grid: Grid
    itself: str  # [N, K] what the entries of a step add to the history
    by_beam: str  # [4] the shape B, 1, K, -1
    encodings: str  # [PHASE, D] of the positions of the phase
    first_picks: str  # [B, 1] where each sentence's rows begin among R + K per sentence


def _constants(
    b: GraphBuilder, state: Mapping[str, str], config: TransformerConfig, shared: Arguments
) -> Phase:
    batch, one = b.size(state["place"], 0), b.int64([1])
    positions = b.Add(state["position"], b.int64(np.arange(PHASE)))
    sentences = b.Range(b.int64(0), b.Squeeze(batch), b.int64(1))
    per_sentence = b.Add(shared.beams, shared.hypotheses)
    return Phase(
        grid=grid(b, state["scores"], config.target_vocab_size),
        itself=b.Tile(shared.itself, b.Concat(batch, one, axis=0)),
        by_beam=b.Concat(batch, one, shared.beams, b.int64([-1]), axis=0),
        encodings=position_encoding(b, positions, config),
        first_picks=b.Unsqueeze(b.Mul(sentences, per_sentence), one),
    )


def _phase(
    b: GraphBuilder,
    state: dict[str, str],
    decoder: onnx.ModelProto,
    config: TransformerConfig,
    shared: Arguments,
    memory_names: list[str],
    kinds: Kinds,
) -> tuple[str, dict[str, str]]:
    """Body of the outer loop: compact, make PHASE steps, note what was found."""
    state = _compact(b, state, config, shared, memory_names)
    memory = {name: state[name] for name in memory_names}
    memory["source_bias"] = source_bias_by_beam(b, state["source_bias"], shared.beams)
    phase = _constants(b, state, config, shared)
    outside = {*memory_names, "place", "result_ids", "result_lengths", "result_scores"}
    stepped = b.loop(
        b.int64([PHASE]),
        b.constant([True], np.bool_),
        {name: tensor for name, tensor in state.items() if name not in outside},
        lambda body, s, number: _step(
            body, s, number, decoder, config, shared, memory, phase, kinds
        ),
        kinds,
    )
    state = {**state, **stepped}

    place = b.Unsqueeze(state["place"], b.int64([1]))
    for name in ("ids", "lengths", "scores"):
        result, pool = state[f"result_{name}"], state[f"pool_{name}"]
        if name == "ids":
            result = _widened(b, result, state["position"], config)
            pool = _widened(b, pool, state["position"], config)
        state[f"result_{name}"] = b.ScatterND(result, place, pool)
    return _some_run(b, state["running"], state["position"], shared), state


def _widened(b: GraphBuilder, ids: str, width: str, config: TransformerConfig) -> str:
    """[X, R, P] to [X, R, width] with padding."""
    lacking = b.Concat(b.int64([0] * 5), b.Sub(width, b.size(ids, 2)), axis=0)
    name: str = b.Pad(ids, lacking, b.int64(config.pad_id))
    return name


def _compact(
    b: GraphBuilder,
    state: dict[str, str],
    config: TransformerConfig,
    shared: Arguments,
    memory_names: list[str],
) -> dict[str, str]:
    """Keep the running sentences, and of the cache what some beam descends from."""
    kept = b.Reshape(b.NonZero(b.Reshape(state["running"], b.int64([-1]))), b.int64([-1]))
    compacted = dict(state)
    for name in (
        *("target_ids", "scores", "pool_ids", "pool_lengths", "pool_scores"),
        *("count", "best_was_eos", "running", "place", *memory_names),
    ):
        compacted[name] = b.Gather(state[name], kept, axis=0)
    by_sentence = {}
    for name in ("history", "sequences"):
        width = b.size(state[name], 1)
        split = b.Reshape(state[name], b.Concat(b.int64([-1]), shared.beams, width, axis=0),
                          allowzero=1)  # fmt: skip
        by_sentence[name] = b.Gather(split, kept, axis=0)  # [B, K, ...]
        rows = b.Concat(b.Mul(b.size(kept, 0), shared.beams), width, axis=0)
        compacted[name] = b.Reshape(by_sentence[name], rows, allowzero=1)

    beams = b.Shape(compacted["scores"])
    spare = b.Concat(beams, b.int64([ALIGNMENT - 1]), axis=0)
    dead = b.Expand(b.float32(-np.inf), spare)
    history = b.Concat(by_sentence["history"], dead, axis=2)  # [B, K, E + ALIGNMENT - 1]
    alive = b.ReduceMax(history, b.int64([1]), keepdims=0)  # [B, E + ...], 0 or -inf
    counts = b.ReduceSum(b.Cast(b.Equal(alive, b.float32(0)), to=INT64), b.int64([1]), keepdims=0)
    most = b.ReduceMax(counts, b.int64([0]), keepdims=1)
    blocks = b.Div(b.Add(most, b.int64([ALIGNMENT - 1])), b.int64([ALIGNMENT]))
    wanted = b.Mul(blocks, b.int64([ALIGNMENT]))
    # Ties go to the lower index: the living in their order, then as many of the dead as needed.
    _, chosen = b.TopK(alive, wanted, outputs=2, axis=1)  # [B, E']
    by_beam = b.Expand(
        b.Unsqueeze(chosen, b.int64([1])),
        b.Concat(b.int64([1]), shared.beams, b.int64([1]), axis=0),
    )
    by_row = b.Concat(b.Mul(b.size(kept, 0), shared.beams), wanted, axis=0)
    compacted["history"] = b.Reshape(
        b.GatherElements(history, by_beam, axis=2), by_row, allowzero=1
    )
    pasts = layer_names("past", config.decoder_layers)
    caches = {name: state[name] for name in pasts}
    return {**compacted, **gather_entries(b, caches, kept, chosen)}


def _some_run(b: GraphBuilder, running: str, position: str, shared: Arguments) -> str:
    """[1] bool: whether another step is wanted."""
    some = b.ReduceMax(b.Cast(running, to=INT64), b.int64([0, 1]), keepdims=0)
    more = b.Less(position, shared.max_length)
    name: str = b.And(b.Greater(some, b.int64(0)), more)
    return name


def _step(
    b: GraphBuilder,
    state: dict[str, str],
    number: str,
    decoder: onnx.ModelProto,
    config: TransformerConfig,
    shared: Arguments,
    memory: Mapping[str, str],
    phase: Phase,
    kinds: Kinds,
) -> tuple[str, dict[str, str]]:
    """Body of the inner loop: rules 2 to 7 for one step."""
    pasts = layer_names("past", config.decoder_layers)
    presents = layer_names("present", config.decoder_layers)
    history = b.Concat(state["history"], phase.itself, axis=1)  # [N, E + K]
    logits, *caches = b.insert(
        decoder.graph,
        "decoder/",
        {
            **{name: state[name] for name in ("target_ids", *pasts)},
            **memory,
            "position_encoding": b.Gather(phase.encodings, number, axis=0),
            "history": b.Reshape(history, phase.by_beam),
        },
        ["logits", *presents],
    )
    length = b.Add(state["position"], b.int64([1]))
    picked = _pick(b, logits, state, config, shared, phase)
    last = b.Equal(length, shared.max_length)
    none_ends = b.Greater(picked["lowest"], b.float32([-np.inf]))  # false for NaN too
    something_ends = b.Or(last, b.Not(none_ends))
    names = ("pool_ids", "pool_lengths", "pool_scores", "count", "best_was_eos", "running")
    before = {name: state[name] for name in names}
    after = b.branch(
        something_ends,
        lambda body: _finish(
            body, {**before, **picked}, state["sequences"], length, last, config, shared, phase
        ),
        lambda body: {"goes_on": body.constant([True], np.bool_), **before},
        {"goes_on": (BOOL, [1]), **kinds},
    )
    goes_on = after.pop("goes_on")
    continued = b.Gather(state["sequences"], picked["next_rows"], axis=0)
    tokens = b.Reshape(picked["next_ids"], b.int64([-1, 1]))
    return goes_on, {
        "target_ids": picked["next_ids"],
        "scores": picked["next_scores"],
        "position": length,
        "history": b.Gather(history, picked["next_rows"], axis=0),
        "sequences": b.Concat(continued, tokens, axis=1),
        **after,
        **dict(zip(pasts, caches, strict=True)),
    }


# The candidates, X = 2K or X = K = 1 of them; the beams of the next step, their tokens, and the
# rows that they continue; and what is -inf when one of the K best candidates is EOS or none.
PICKED: Kinds = {
    "scores": (FLOAT, ["B", "X"]),
    "ids": (INT64, ["B", "X"]),
    "rows": (INT64, ["B", "X"]),
    "next_scores": (FLOAT, ["B", "K"]),
    "next_ids": (INT64, ["B", "K"]),
    "next_rows": (INT64, ["N"]),
    "lowest": (FLOAT, [1]),
}


def _pick(
    b: GraphBuilder,
    logits: str,
    state: Mapping[str, str],
    config: TransformerConfig,
    shared: Arguments,
    phase: Phase,
) -> dict[str, str]:
    scores, cells = state["scores"], phase.grid

    def pick(b: GraphBuilder) -> dict[str, str]:
        return b.branch(
            shared.greedy,
            lambda body: _pick_token(body, logits, scores, cells, config),
            lambda body: _pick_beams(body, logits, scores, cells, config, shared),
            PICKED,
        )

    if not config.target_language_ids:
        return pick(b)
    first_step = b.Equal(state["position"], b.int64([0]))
    return b.branch(first_step, lambda body: _take_first(body, scores), pick, PICKED)


def _take_first(b: GraphBuilder, scores: str) -> dict[str, str]:
    """Rule 8: every beam goes on with first_ids, and its score stays what it was."""
    shape = b.Shape(scores)
    ids = b.Expand(b.Unsqueeze("first_ids", b.int64([1])), shape)
    every_row = b.Range(b.int64(0), b.Squeeze(b.Size(scores)), b.int64(1))
    return {
        "scores": scores,
        "ids": ids,
        "rows": b.Reshape(every_row, shape),
        "next_scores": scores,
        "next_ids": ids,
        "next_rows": every_row,
        "lowest": b.float32([0]),  # nothing ends
    }


def _pick_token(
    b: GraphBuilder, logits: str, scores: str, cells: Grid, config: TransformerConfig
) -> dict[str, str]:
    """Rules 2 and 4 for K = 1, where a sentence ends with its first EOS: what follows is
    without meaning, and may be EOS."""
    found = best_token(b, logits, scores, cells, config.target_vocab_size)
    without_eos = _without_eos(b, found, config)
    return {
        "scores": found.scores,
        "ids": found.ids,
        "rows": found.rows,
        "next_scores": found.scores,
        "next_ids": found.ids,
        "next_rows": b.Reshape(found.rows, b.int64([-1])),
        "lowest": _lowest(b, without_eos),
    }


def _pick_beams(
    b: GraphBuilder,
    logits: str,
    scores: str,
    cells: Grid,
    config: TransformerConfig,
    shared: Arguments,
) -> dict[str, str]:
    """Rules 2 and 4: the 2K best candidates; the K best that are not EOS go on."""
    found = best_candidates(b, logits, scores, cells, config.target_vocab_size)
    without_eos = _without_eos(b, found, config)
    next_scores, beams = b.TopK(without_eos, shared.beams, outputs=2, axis=1)
    rows = b.GatherElements(found.rows, beams, axis=1)
    among_best = b.Slice(without_eos, b.int64([0]), shared.beams, b.int64([1]))
    return {
        "scores": found.scores,
        "ids": found.ids,
        "rows": found.rows,
        "next_scores": next_scores,
        "next_ids": b.GatherElements(found.ids, beams, axis=1),
        "next_rows": b.Reshape(rows, b.int64([-1])),
        "lowest": _lowest(b, among_best),
    }


def _without_eos(b: GraphBuilder, found: Candidates, config: TransformerConfig) -> str:
    """The candidates' scores, -inf where the token is EOS."""
    is_eos = b.Equal(found.ids, b.int64(config.eos_id))
    name: str = b.Where(is_eos, b.float32(-np.inf), found.scores)
    return name


def _lowest(b: GraphBuilder, scores: str) -> str:
    name: str = b.Reshape(b.ReduceMin(scores, keepdims=0), b.int64([1]))
    return name


def _finish(
    b: GraphBuilder,
    state: Mapping[str, str],
    sequences: str,
    length: str,
    last: str,
    config: TransformerConfig,
    shared: Arguments,
    phase: Phase,
) -> dict[str, str]:
    """Rules 3 and 5 to 7: what finishes at this step, and which sentences end with it."""
    best = (b.int64([0]), shared.beams, b.int64([1]))
    scores, ids, rows = (b.Slice(state[name], *best) for name in ("scores", "ids", "rows"))
    is_eos = b.Equal(ids, b.int64(config.eos_id))  # [B, K]

    # Rules 3 and 5: which candidates finish, with the score of rule 7.
    complete = b.Or(is_eos, last)
    there = b.Greater(scores, b.float32(-np.inf))
    finishes = b.And(b.And(complete, there), state["running"])
    penalty = b.Pow(b.Cast(length, to=FLOAT), shared.length_penalty)
    finals = b.Where(finishes, b.Div(scores, penalty), b.float32(-np.inf))
    lengths = b.Sub(length, b.Cast(is_eos, to=INT64))

    # The R best of those found before and now; ties to what was found first.
    pool_scores, chosen = b.TopK(
        b.Concat(state["pool_scores"], finals, axis=1), shared.hypotheses, outputs=2, axis=1
    )
    all_lengths = b.Concat(state["pool_lengths"], lengths, axis=1)
    before = b.Gather(sequences, rows, axis=0)  # [B, K, T - 1]
    found = b.Concat(before, b.Unsqueeze(ids, b.int64([2])), axis=2)
    pool = _widened(b, state["pool_ids"], length, config)
    all_ids = b.Concat(pool, found, axis=1)  # [B, R + K, T]
    flat = b.Reshape(all_ids, b.Concat(b.int64([-1]), length, axis=0))
    pool_ids = b.Gather(flat, b.Add(chosen, phase.first_picks), axis=0)

    # Rule 6.
    count = b.Add(state["count"], b.ReduceSum(b.Cast(finishes, to=INT64), b.int64([1]), keepdims=1))
    first = (b.int64([0]), b.int64([1]), b.int64([1]))
    best_was_eos = b.Or(state["best_was_eos"], b.Slice(finishes, *first))
    ends = b.And(b.GreaterOrEqual(count, shared.enough), b.Or(best_was_eos, shared.not_free))
    alive = b.Greater(b.Slice(state["next_scores"], *first), b.float32(-np.inf))
    running = b.And(b.And(state["running"], alive), b.Not(ends))
    return {
        "goes_on": _some_run(b, running, length, shared),
        "pool_ids": pool_ids,
        "pool_lengths": b.GatherElements(all_lengths, chosen, axis=1),
        "pool_scores": pool_scores,
        "count": count,
        "best_was_eos": best_was_eos,
        "running": running,
    }
