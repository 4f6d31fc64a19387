"""The rules of one step of the search, as operators of translate.onnx.

They have the names that runtime/search.py gives them. `choose` has the rules "target prefix",
"logits", "candidates" and "continue"; `finish` has "finish", "max_length", "end" and "score".

Shapes: B sentences still running, K beams, N = B x K rows, R hypotheses to return, T steps made,
P tokens of the target prefix, V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from tfm.runtime.search import LARGEST_PATIENCE
from tfm.trainer.config import TransformerConfig

from .builder import GraphBuilder, TensorTypes
from .candidates import CandidateTensors, Grid, best_candidates, every_column

INT64, FLOAT, BOOL = TensorProto.INT64, TensorProto.FLOAT, TensorProto.BOOL
FINISHED_SHARE = 8  # a phase of steps ends when one sentence of this many has finished


@dataclass(frozen=True, slots=True)
class SearchArguments:
    """Tensors that every step reads and none changes: [1] each unless said otherwise."""

    beams: str  # K
    hypotheses: str  # R
    prefix: str  # [A, P]
    prefix_length: str  # P
    last_length: str  # max_length + P
    min_total_length: str  # min_length + P: EOS is forbidden up to this length
    suppressed: str  # [X] ids of tokens that are never written
    repetition_penalty: str  # []
    length_penalty: str  # []
    own_slots: str  # [K, K] float: 0 on the diagonal, -inf elsewhere
    finished_needed: str  # finished hypotheses at which a sentence may end
    has_length_penalty: str  # bool: length_penalty is not 0
    has_rules: str  # bool: at least one rule on logits is set
    no_rules_no_prefix: str  # bool: no rules on logits and no prefix


def search_arguments(b: GraphBuilder) -> SearchArguments:
    """Append what follows from the inputs of translate.onnx alone, before the first step."""
    one = b.int64([1])
    beams = b.Reshape("beam_size", one)
    hypotheses = b.Reshape("num_hypotheses", one)
    greedy = b.Equal(beams, one)
    batch = b.size("source_ids", 0)
    prefix = b.Expand("target_prefix", b.Concat(batch, one, axis=0))
    prefix_length = b.size(prefix, 1)
    min_length = b.Reshape("min_length", one)

    columns = b.Range(b.int64(0), "beam_size", b.int64(1))
    diagonal = b.Equal(b.Unsqueeze(columns, one), columns)
    free = b.Equal("length_penalty", b.float32(0))
    # Halves up and in float32, as search.enough_finished.
    patience = b.Min("patience", b.float32(LARGEST_PATIENCE))
    exact = b.Mul(b.Cast(beams, to=FLOAT), patience)
    rounded = b.Cast(b.Floor(b.Add(exact, b.float32(0.5))), to=INT64)
    enough = b.Where(greedy, one, b.Max(rounded, hypotheses))

    zero = b.int64([0])
    penalizes = b.Not(b.Equal(b.Reshape("repetition_penalty", one), b.float32(1)))
    suppresses = b.Greater(b.size("suppress_ids", 0), zero)
    has_rules = b.Or(b.Or(b.Greater(min_length, zero), suppresses), penalizes)
    plain = b.Not(b.Or(has_rules, b.Greater(prefix_length, zero)))
    return SearchArguments(
        beams=beams,
        hypotheses=hypotheses,
        prefix=prefix,
        prefix_length=prefix_length,
        last_length=b.Add(b.Reshape("max_length", one), prefix_length),
        min_total_length=b.Add(min_length, prefix_length),
        suppressed="suppress_ids",
        repetition_penalty="repetition_penalty",
        length_penalty="length_penalty",
        own_slots=b.Where(diagonal, b.float32(0), b.float32(-np.inf)),
        finished_needed=b.Where(free, hypotheses, enough),
        has_length_penalty=b.Not(free),
        has_rules=has_rules,
        no_rules_no_prefix=plain,
    )


# What `choose` returns: the candidates (X is 2K, or K in a target prefix); scores and
# tokens of the next step's beams, and the rows that they continue; and the lowest score among the
# K best candidates, which is -inf when one of them is EOS or unused.
CHOICE: TensorTypes = {
    "scores": (FLOAT, ["B", "X"]),
    "ids": (INT64, ["B", "X"]),
    "rows": (INT64, ["B", "X"]),
    "next_scores": (FLOAT, ["B", "K"]),
    "next_ids": (INT64, ["B", "K"]),
    "next_rows": (INT64, ["N"]),
    "lowest": (FLOAT, [1]),
}


def choose(
    b: GraphBuilder,
    logits: str,
    state: Mapping[str, str],
    config: TransformerConfig,
    arguments: SearchArguments,
    grid: Grid,
    columns: Grid,
) -> dict[str, str]:
    """Append the rules "target prefix", "logits", "candidates" and "continue".

    Options that are not set add no work but for one If.

    Args:
        logits: [N, V], or [N, C] of some tokens
        state: the loop's state, with scores [B, K], sequences [N, T] and position [1]
        grid: of all tokens, which rules on logits need
        columns: of those that have logits

    Returns:
        the tensors of CHOICE
    """
    scores = state["scores"]

    def beams(b: GraphBuilder) -> dict[str, str]:
        best = best_candidates(b, logits, scores, columns)
        return _continue_beams(b, best, config, arguments)

    def with_rules(b: GraphBuilder) -> dict[str, str]:
        every = logits
        if columns.ids:
            every = every_column(b, logits, columns.ids, config.target_vocab_size)
        allowed = _rules_on_logits(b, every, state, config, arguments)
        best = best_candidates(b, allowed, scores, grid)
        return _continue_beams(b, best, config, arguments)

    def after_prefix(b: GraphBuilder) -> dict[str, str]:
        return b.branch(
            arguments.has_rules,
            with_rules,
            beams,
            CHOICE,
        )

    def not_plain(b: GraphBuilder) -> dict[str, str]:
        return b.branch(
            b.Less(state["position"], arguments.prefix_length),
            lambda inner: _take_prefix(inner, state, arguments),
            after_prefix,
            CHOICE,
        )

    return b.branch(arguments.no_rules_no_prefix, beams, not_plain, CHOICE)


def _take_prefix(
    b: GraphBuilder, state: Mapping[str, str], arguments: SearchArguments
) -> dict[str, str]:
    """The rule "target prefix": every beam goes on with its sentence's token, at its score."""
    scores = state["scores"]
    shape = b.Shape(scores)
    of_sentence = b.Gather(arguments.prefix, state["sentence"], axis=0)  # [B, P]
    tokens = b.Gather(of_sentence, state["position"], axis=1)  # [B, 1]
    ids = b.Expand(tokens, shape)
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


def _rules_on_logits(
    b: GraphBuilder,
    logits: str,
    state: Mapping[str, str],
    config: TransformerConfig,
    arguments: SearchArguments,
) -> str:
    """The rule "logits": repetition_penalty, suppress_ids and min_length; see
    runtime/processors.py."""
    sequences, penalty = state["sequences"], arguments.repetition_penalty
    written = b.GatherElements(logits, sequences, axis=1)  # [N, T]
    penalized = b.Where(
        b.Less(written, b.float32(0)), b.Mul(written, penalty), b.Div(written, penalty)
    )
    logits = b.ScatterElements(logits, sequences, penalized, axis=1)

    length = b.Add(state["position"], b.int64([1]))
    too_short = b.LessOrEqual(length, arguments.min_total_length)
    eos = b.Expand(b.int64([config.eos_id]), b.Cast(too_short, to=INT64))  # [1] or [0]
    forbidden = b.Concat(arguments.suppressed, eos, axis=0)
    by_row = b.Expand(forbidden, b.Concat(b.size(logits, 0), b.Shape(forbidden), axis=0))
    impossible = b.Expand(b.float32(-np.inf), b.Shape(by_row))
    name: str = b.ScatterElements(logits, by_row, impossible, axis=1)
    return name


def _continue_beams(
    b: GraphBuilder, best: CandidateTensors, config: TransformerConfig, arguments: SearchArguments
) -> dict[str, str]:
    """The rule "continue": the K best candidates that are not EOS."""
    without_eos = _without_eos(b, best, config)
    next_scores, beams = b.TopK(without_eos, arguments.beams, outputs=2, axis=1)
    rows = b.GatherElements(best.rows, beams, axis=1)
    among_best = b.Slice(without_eos, b.int64([0]), arguments.beams, b.int64([1]))
    return {
        "scores": best.scores,
        "ids": best.ids,
        "rows": best.rows,
        "next_scores": next_scores,
        "next_ids": b.GatherElements(best.ids, beams, axis=1),
        "next_rows": b.Reshape(rows, b.int64([-1])),
        "lowest": _lowest(b, among_best),
    }


def _without_eos(b: GraphBuilder, best: CandidateTensors, config: TransformerConfig) -> str:
    """The candidates' scores, -inf where the token is EOS."""
    is_eos = b.Equal(best.ids, b.int64(config.eos_id))
    name: str = b.Where(is_eos, b.float32(-np.inf), best.scores)
    return name


def _lowest(b: GraphBuilder, scores: str) -> str:
    name: str = b.Reshape(b.ReduceMin(scores, keepdims=0), b.int64([1]))
    return name


def fewest_running(b: GraphBuilder, batch: str) -> str:
    """Append how many sentences still run when a phase ends, [1], given B [1].

    Taking sentences out of the batch copies those that stay, so it waits for some to finish.
    """
    share = b.int64([FINISHED_SHARE])
    finished = b.Div(b.Add(batch, b.int64([FINISHED_SHARE - 1])), share)
    name: str = b.Sub(batch, finished)
    return name


def some_run(b: GraphBuilder, running: str, position: str, arguments: SearchArguments) -> str:
    """Append whether another step is wanted, [1] bool."""
    some = b.ReduceMax(b.Cast(running, to=INT64), b.int64([0, 1]), keepdims=0)
    more = b.Less(position, arguments.last_length)
    name: str = b.And(b.Greater(some, b.int64(0)), more)
    return name


def padded_to(b: GraphBuilder, ids: str, width: str, config: TransformerConfig) -> str:
    """Append padding to [X, R, T] until the last dimension is width [1]."""
    lacking = b.Concat(b.int64([0] * 5), b.Sub(width, b.size(ids, 2)), axis=0)
    name: str = b.Pad(ids, lacking, b.int64(config.pad_id))
    return name


def finish(
    b: GraphBuilder,
    state: Mapping[str, str],
    sequences: str,
    length: str,
    last: str,
    config: TransformerConfig,
    arguments: SearchArguments,
    first_rows_of_pool: str,
    fewest: str,
) -> dict[str, str]:
    """Append the rules "finish", "max_length", "end" and "score".

    Args:
        state: pools, counts and flags of the loop's state, and the tensors of CHOICE
        sequences: [N, T - 1]
        length: [1] T, this step counted
        last: [1] bool, whether this is step max_length
        first_rows_of_pool: [B, 1] where each sentence's rows begin among R + K per sentence
        fewest: [1] `fewest_running` of the phase

    Returns:
        goes_on [1] bool, whether the phase does, and the new pools, counts and flags
    """
    best = (b.int64([0]), arguments.beams, b.int64([1]))
    scores, ids, rows = (b.Slice(state[name], *best) for name in ("scores", "ids", "rows"))
    is_eos = b.Equal(ids, b.int64(config.eos_id))  # [B, K]

    complete = b.Or(is_eos, last)
    exists = b.Greater(scores, b.float32(-np.inf))
    finishes = b.And(b.And(complete, exists), state["running"])
    penalty = b.Pow(b.Cast(length, to=FLOAT), arguments.length_penalty)
    finals = b.Where(finishes, b.Div(scores, penalty), b.float32(-np.inf))
    lengths = b.Sub(length, b.Cast(is_eos, to=INT64))

    # The R best of the earlier ones and these; ties to the earlier.
    pool_scores, chosen = b.TopK(
        b.Concat(state["pool_scores"], finals, axis=1), arguments.hypotheses, outputs=2, axis=1
    )
    all_lengths = b.Concat(state["pool_lengths"], lengths, axis=1)
    before = b.Gather(sequences, rows, axis=0)  # [B, K, T - 1]
    finished_ids = b.Concat(before, b.Unsqueeze(ids, b.int64([2])), axis=2)
    pool = padded_to(b, state["pool_ids"], length, config)
    all_ids = b.Concat(pool, finished_ids, axis=1)  # [B, R + K, T]
    flat = b.Reshape(all_ids, b.Concat(b.int64([-1]), length, axis=0))
    pool_ids = b.Gather(flat, b.Add(chosen, first_rows_of_pool), axis=0)

    count = b.Add(state["count"], b.ReduceSum(b.Cast(finishes, to=INT64), b.int64([1]), keepdims=1))
    first = (b.int64([0]), b.int64([1]), b.int64([1]))
    best_was_eos = b.Or(state["best_was_eos"], b.Slice(finishes, *first))
    ends = b.And(
        b.GreaterOrEqual(count, arguments.finished_needed),
        b.Or(best_was_eos, arguments.has_length_penalty),
    )
    alive = b.Greater(b.Slice(state["next_scores"], *first), b.float32(-np.inf))
    running = b.And(b.And(state["running"], alive), b.Not(ends))
    return {
        "goes_on": b.And(
            b.Greater(b.ReduceSum(b.Cast(running, to=INT64), b.int64([0]), keepdims=0), fewest),
            b.Less(length, arguments.last_length),
        ),
        "pool_ids": pool_ids,
        "pool_lengths": b.GatherElements(all_lengths, chosen, axis=1),
        "pool_scores": pool_scores,
        "count": count,
        "best_was_eos": best_was_eos,
        "running": running,
    }
