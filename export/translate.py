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
from typing import Self

import numpy as np
import onnx
from onnx import TensorProto, helper

from tfm.runtime.model import ALIGNMENT, PHASE
from tfm.trainer.config import ModelConfig

from .builder import GraphBuilder
from .compact import gather_entries
from .convert import Graphs, layer_names

INT64, FLOAT, BOOL = TensorProto.INT64, TensorProto.FLOAT, TensorProto.BOOL
Kinds = dict[str, tuple[int, list[int | str]]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the loops need to know of a model."""

    decoder_layers: int
    num_heads: int
    head_size: int
    bos_id: int
    eos_id: int
    pad_id: int

    @classmethod
    def of(cls, config: ModelConfig) -> Self:
        """The sizes of a model."""
        return cls(
            decoder_layers=config.decoder_layers,
            num_heads=config.num_heads,
            head_size=config.d_model // config.num_heads,
            bos_id=config.bos_id,
            eos_id=config.eos_id,
            pad_id=config.pad_id,
        )


def compose(graphs: Graphs, sizes: Sizes) -> onnx.ModelProto:
    """Join the graphs of one variant into translate.onnx.

    Inputs: source_ids [A, S], beam_size [], num_hypotheses [] (at most beam_size), max_length []
    (tokens without EOS), all int64; length_penalty [] float32.
    Outputs: output_ids [A, R, T] padded with pad_id, output_lengths [A, R] int64, and output_scores
    [A, R] float32, best first; -inf with length 0 where fewer hypotheses were found.
    """
    b = GraphBuilder()
    shared = _arguments(b)
    memory_names = [output.name for output in graphs.encoder.graph.output]
    encoded = b.insert(graphs.encoder.graph, "encoder/", {"source_ids": "source_ids"}, memory_names)
    memory = dict(zip(memory_names, encoded, strict=True))
    state = {**_beginning(b, sizes, shared), **memory}
    kinds = _kinds(sizes, memory_names)
    final = b.loop(
        "",
        b.constant([True], np.bool_),
        state,
        lambda body, s: _phase(body, s, graphs.decoder, sizes, shared, memory_names, kinds),
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
    ranks: str  # [2K] 0, 1, 2 ...
    among_best: str  # [2K] bool: the first K
    itself: str  # [1, K, K] float: 0 on the diagonal, -inf elsewhere
    worse: str  # 2K, to sort EOS behind all others
    enough: str  # finished hypotheses at which a sentence may end
    not_free: str  # bool: length_penalty is not 0


def _arguments(b: GraphBuilder) -> Arguments:
    one = b.int64([1])
    beams = b.Reshape("beam_size", one)
    hypotheses = b.Reshape("num_hypotheses", one)
    count = b.Add("beam_size", "beam_size")
    ranks = b.Range(b.int64(0), count, b.int64(1))
    columns = b.Range(b.int64(0), "beam_size", b.int64(1))
    diagonal = b.Equal(b.Unsqueeze(columns, b.int64([1])), columns)
    free = b.Equal("length_penalty", b.float32(0))
    return Arguments(
        beams=beams,
        hypotheses=hypotheses,
        max_length=b.Reshape("max_length", one),
        length_penalty="length_penalty",
        ranks=ranks,
        among_best=b.Less(ranks, "beam_size"),
        itself=b.Unsqueeze(b.Where(diagonal, b.float32(0), b.float32(-np.inf)), b.int64([0])),
        worse=b.Add(beams, beams),
        enough=b.Where(free, hypotheses, beams),
        not_free=b.Not(free),
    )


def _beginning(b: GraphBuilder, sizes: Sizes, shared: Arguments) -> dict[str, str]:
    """Rule 1: one beam that holds only BOS; K - 1 that are not there."""
    batch = b.size("source_ids", 0)
    by_beam = b.Concat(batch, shared.beams, axis=0)
    by_hypothesis = b.Concat(batch, shared.hypotheses, axis=0)
    first = b.Equal(b.Slice(shared.ranks, b.int64([0]), shared.beams), b.int64(0))
    nothing = b.Expand(b.float32(-np.inf), by_hypothesis)
    none = b.Expand(b.int64(0), by_hypothesis)
    rows = b.Concat(batch, b.Add(shared.beams, shared.hypotheses), b.int64([0]), axis=0)
    empty = b.Concat(batch, b.int64([sizes.num_heads, 0, sizes.head_size]), axis=0)
    by_sentence = b.Concat(batch, b.int64([1]), axis=0)
    cache = b.Expand(b.float32(0), empty)
    return {
        "target_ids": b.Expand(b.int64(sizes.bos_id), by_beam),
        "scores": b.Expand(b.Where(first, b.float32(0), b.float32(-np.inf)), by_beam),
        "position": b.int64([0]),
        "history": b.Expand(b.float32(0), b.Concat(by_beam, b.int64([0]), axis=0)),
        "sequences": b.Expand(b.int64(0), rows),
        "pool_scores": nothing,
        "pool_lengths": none,
        "count": b.Expand(b.int64(0), by_sentence),
        "best_was_eos": b.Expand(b.constant(False, np.bool_), by_sentence),
        "running": b.Expand(b.constant(True, np.bool_), by_sentence),
        **dict.fromkeys(layer_names("past", sizes.decoder_layers), cache),
        "place": b.Range(b.int64(0), b.Squeeze(batch), b.int64(1)),
        "result_ids": b.Expand(b.int64(0), b.Concat(by_hypothesis, b.int64([0]), axis=0)),
        "result_lengths": none,
        "result_scores": nothing,
    }


def _kinds(sizes: Sizes, memory_names: list[str]) -> Kinds:
    heads, size = sizes.num_heads, sizes.head_size
    kinds: Kinds = {
        "target_ids": (INT64, ["B", "K"]),
        "scores": (FLOAT, ["B", "K"]),
        "position": (INT64, [1]),
        "history": (FLOAT, ["B", "K", "E"]),
        "sequences": (INT64, ["B", "R+K", "T"]),  # the pool's hypotheses, then the beams
        "pool_scores": (FLOAT, ["B", "R"]),
        "pool_lengths": (INT64, ["B", "R"]),
        "count": (INT64, ["B", 1]),
        "best_was_eos": (BOOL, ["B", 1]),
        "running": (BOOL, ["B", 1]),
        "place": (INT64, ["B"]),
        "result_ids": (INT64, ["A", "R", "T"]),
        "result_lengths": (INT64, ["A", "R"]),
        "result_scores": (FLOAT, ["A", "R"]),
        "source_bias": (FLOAT, ["B", 1, 1, "S"]),
    }
    for name in layer_names("past", sizes.decoder_layers):
        kinds[name] = (FLOAT, ["B", heads, "E", size])
    for name in memory_names:
        if name.startswith("cross_key"):
            kinds[name] = (FLOAT, ["B", heads, size, "S"])
        elif name.startswith("cross_value"):
            kinds[name] = (FLOAT, ["B", heads, "S", size])
    return kinds


@dataclass(frozen=True, slots=True)
class Phase:
    """Tensors that every step of a phase reads and none changes."""

    itself: str  # [B, K, K] what the entries of a step add to the history
    pool_rows: str  # [B, R] 0, 1, 2 ...: the pool's hypotheses continue themselves,
    pool_tokens: str  # [B, R] with padding


def _constants(b: GraphBuilder, batch: str, sizes: Sizes, shared: Arguments) -> Phase:
    by_hypothesis = b.Concat(batch, shared.hypotheses, axis=0)
    numbers = b.Range(b.int64(0), b.Squeeze(shared.hypotheses), b.int64(1))
    return Phase(
        itself=b.Expand(shared.itself, b.Concat(batch, b.int64([1, 1]), axis=0)),
        pool_rows=b.Expand(numbers, by_hypothesis),
        pool_tokens=b.Expand(b.int64(sizes.pad_id), by_hypothesis),
    )


def _phase(
    b: GraphBuilder,
    state: dict[str, str],
    decoder: onnx.ModelProto,
    sizes: Sizes,
    shared: Arguments,
    memory_names: list[str],
    kinds: Kinds,
) -> tuple[str, dict[str, str]]:
    """Body of the outer loop: compact, make PHASE steps, note what was found."""
    state = _compact(b, state, sizes, memory_names)
    memory = {name: state[name] for name in memory_names}
    phase = _constants(b, b.size(state["place"], 0), sizes, shared)
    outside = {*memory_names, "place", "result_ids", "result_lengths", "result_scores"}
    stepped = b.loop(
        b.int64([PHASE]),
        b.constant([True], np.bool_),
        {name: tensor for name, tensor in state.items() if name not in outside},
        lambda body, s: _step(body, s, decoder, sizes, shared, memory, phase),
        kinds,
    )
    state = {**state, **stepped}

    place = b.Unsqueeze(state["place"], b.int64([1]))
    grown = b.Sub(b.size(state["sequences"], 2), b.size(state["result_ids"], 2))
    sides = b.Shape(state["result_lengths"])
    padding = b.Expand(b.int64(sizes.pad_id), b.Concat(sides, grown, axis=0))
    pool_ids = b.Slice(state["sequences"], b.int64([0]), shared.hypotheses, b.int64([1]))
    widened = b.Concat(state["result_ids"], padding, axis=2)
    state["result_ids"] = b.ScatterND(widened, place, pool_ids)
    for what in ("lengths", "scores"):
        state[f"result_{what}"] = b.ScatterND(state[f"result_{what}"], place, state[f"pool_{what}"])
    return _some_run(b, state["running"], state["position"], shared), state


def _compact(
    b: GraphBuilder, state: dict[str, str], sizes: Sizes, memory_names: list[str]
) -> dict[str, str]:
    """Keep the running sentences, and of the cache what some beam descends from."""
    kept = b.Reshape(b.NonZero(b.Reshape(state["running"], b.int64([-1]))), b.int64([-1]))
    compacted = dict(state)
    for name in (
        *("target_ids", "scores", "history", "sequences", "pool_scores", "pool_lengths"),
        *("count", "best_was_eos", "running", "place", *memory_names),
    ):
        compacted[name] = b.Gather(state[name], kept, axis=0)

    beams = b.Shape(compacted["scores"])
    spare = b.Concat(beams, b.int64([ALIGNMENT - 1]), axis=0)
    dead = b.Expand(b.float32(-np.inf), spare)
    history = b.Concat(compacted["history"], dead, axis=2)  # [B, K, E + ALIGNMENT - 1]
    alive = b.ReduceMax(history, b.int64([1]), keepdims=0)  # [B, E + ...], 0 or -inf
    counts = b.ReduceSum(b.Cast(b.Equal(alive, b.float32(0)), to=INT64), b.int64([1]), keepdims=0)
    most = b.ReduceMax(counts, b.int64([0]), keepdims=1)
    blocks = b.Div(b.Add(most, b.int64([ALIGNMENT - 1])), b.int64([ALIGNMENT]))
    wanted = b.Mul(blocks, b.int64([ALIGNMENT]))
    # Ties go to the lower index: the living in their order, then as many of the dead as needed.
    _, chosen = b.TopK(alive, wanted, outputs=2, axis=1)  # [B, E']
    by_beam = b.Expand(
        b.Unsqueeze(chosen, b.int64([1])),
        b.Concat(b.int64([1]), b.size(compacted["scores"], 1), b.int64([1]), axis=0),
    )
    compacted["history"] = b.GatherElements(history, by_beam, axis=2)

    pasts = layer_names("past", sizes.decoder_layers)
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
    decoder: onnx.ModelProto,
    sizes: Sizes,
    shared: Arguments,
    memory: Mapping[str, str],
    phase: Phase,
) -> tuple[str, dict[str, str]]:
    """Body of the inner loop: rules 2 to 7 for one step."""
    pasts = layer_names("past", sizes.decoder_layers)
    presents = layer_names("present", sizes.decoder_layers)
    history = b.Concat(state["history"], phase.itself, axis=2)
    scores, ids, origins, *caches = b.insert(
        decoder.graph,
        "decoder/",
        {
            **{name: state[name] for name in ("target_ids", "scores", "position", *pasts)},
            **memory,
            "history": history,
        },
        ["candidate_scores", "candidate_ids", "candidate_origins", *presents],
    )
    length = b.Add(state["position"], b.int64([1]))
    is_eos = b.Equal(ids, b.int64(sizes.eos_id))  # [B, 2K]

    # Rules 3 and 5: which candidates finish, with the score of rule 7.
    complete = b.Or(is_eos, b.Equal(length, shared.max_length))
    there = b.Greater(scores, b.float32(-np.inf))
    eligible = b.And(shared.among_best, state["running"])
    finishes = b.And(b.And(complete, there), eligible)
    penalty = b.Pow(b.Cast(length, to=FLOAT), shared.length_penalty)
    finals = b.Where(finishes, b.Div(scores, penalty), b.float32(-np.inf))
    eos = b.Cast(is_eos, to=INT64)
    lengths = b.Sub(length, eos)

    # The R best of those found before and now; ties to what was found first.
    pool_scores, chosen = b.TopK(
        b.Concat(state["pool_scores"], finals, axis=1), shared.hypotheses, outputs=2, axis=1
    )
    pool_lengths = b.GatherElements(
        b.Concat(state["pool_lengths"], lengths, axis=1), chosen, axis=1
    )

    # Rule 4: the K best that are not EOS go on.
    order = b.Add(b.Mul(eos, shared.worse), shared.ranks)
    _, beams = b.TopK(order, shared.beams, outputs=2, axis=1, largest=0)
    next_scores = b.GatherElements(scores, beams, axis=1)

    # The rows of `sequences` [B, R + K, T], the pool's and then the beams', and how each goes on.
    picked = b.Concat(chosen, b.Add(beams, shared.hypotheses), axis=1)
    rows = b.GatherElements(
        b.Concat(phase.pool_rows, b.Add(origins, shared.hypotheses), axis=1), picked, axis=1
    )
    tokens = b.GatherElements(b.Concat(phase.pool_tokens, ids, axis=1), picked, axis=1)
    sequences = b.Concat(
        _reorder(b, state["sequences"], rows, state["position"]),
        b.Unsqueeze(tokens, b.int64([2])),
        axis=2,
    )
    behind = (shared.hypotheses, b.int64([np.iinfo(np.int64).max]), b.int64([1]))
    next_origins = b.Sub(b.Slice(rows, *behind), shared.hypotheses)

    # Rule 6.
    count = b.Add(state["count"], b.ReduceSum(b.Cast(finishes, to=INT64), b.int64([1]), keepdims=1))
    first = (b.int64([0]), b.int64([1]), b.int64([1]))
    best_was_eos = b.Or(state["best_was_eos"], b.Slice(finishes, *first))
    ends = b.And(b.GreaterOrEqual(count, shared.enough), b.Or(best_was_eos, shared.not_free))
    goes_on = b.Greater(b.Slice(next_scores, *first), b.float32(-np.inf))
    running = b.And(b.And(state["running"], goes_on), b.Not(ends))
    return _some_run(b, running, length, shared), {
        "target_ids": b.Slice(tokens, *behind),
        "scores": next_scores,
        "position": length,
        "history": _reorder(b, history, next_origins, b.size(history, 2)),
        "sequences": sequences,
        "pool_scores": pool_scores,
        "pool_lengths": pool_lengths,
        "count": count,
        "best_was_eos": best_was_eos,
        "running": running,
        **dict(zip(pasts, caches, strict=True)),
    }


def _reorder(b: GraphBuilder, tensor: str, rows: str, width: str) -> str:
    """tensor [B, X, W] to [B, Y, W] by row numbers [B, Y]; width [1] is W."""
    wide = b.Expand(b.Unsqueeze(rows, b.int64([2])), b.Concat(b.int64([1, 1]), width, axis=0))
    name: str = b.GatherElements(tensor, wide, axis=1)
    return name
