"""greedy.onnx: encoder, decoder and greedy search in one graph, token ids in and out.

What search.py does with one beam, with fewer operators: there is nothing to reorder, no mask on
the cache, and no log-probability unless scores are wanted. Two loops: the inner one makes steps,
until a share of its sentences has finished; between these phases the outer one takes finished
sentences out of the batch.

Shapes: B sentences still running, A all sentences, T steps made, P tokens of the target prefix,
E slots of the cache, H heads, C head size, V vocabulary, D d_model.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper

from tfm.runtime.options import DecodingOptions
from tfm.trainer.config import TransformerConfig

from .builder import GraphBuilder, TensorTypes
from .candidates import best_token, listed_output
from .decoder_state import decoder_state, state_element
from .passes import hoist_invariants, move_constants_inward
from .rules import BOOL, FLOAT, INT64, fewest_running
from .search import OPTIONS_KEY, memory_types, option_inputs
from .step import model_metadata, position_encoding
from .trace import Graphs

PHASE_STEPS = 32  # the most steps between two looks at which sentences have finished
GREEDY_OPTIONS = ("max_length", "length_penalty", "target_prefix")


def compose_greedy(
    graphs: Graphs,
    config: TransformerConfig,
    options: DecodingOptions,
    target_prefix: Sequence[int] = (),
) -> onnx.ModelProto:
    """Join the graphs of one variant into greedy.onnx.

    Inputs: source_ids [A, S] int64; with_scores [] bool, by default true: without it all scores
    are 0. Optional, with the model's own value as default: max_length [] int64, length_penalty []
    float32, target_prefix [A or 1, P] int64.

    Outputs as of translate.onnx, with one hypothesis for each sentence: output_ids [A, 1, T],
    output_lengths [A, 1] int64, output_scores [A, 1] float32, -inf where the model gave no finite
    number.

    Args:
        options: the defaults
        target_prefix: the default of target_prefix, with a language's token where there is one
    """
    b = GraphBuilder()
    defaults = option_inputs(b, options, target_prefix, GREEDY_OPTIONS)
    flag = helper.make_tensor_value_info("with_scores", BOOL, [])
    b.initializers["with_scores"] = helper.make_tensor("with_scores", BOOL, [], [True])
    memory_names = [output.name for output in graphs.encoder.graph.output]
    encoded = b.insert(graphs.encoder.graph, "encoder/", {"source_ids": "source_ids"}, memory_names)
    element = state_element(graphs.greedy_decoder)
    search = _GreedySearch(b, config, graphs.greedy_decoder, memory_names, element)
    state = {**search.start(b), **dict(zip(memory_names, encoded, strict=True))}
    final = b.loop("", b.constant([True], np.bool_), state, search.phase, search.types)
    imports = {o.domain: o for _, graph in graphs for o in graph.opset_import}
    model = b.model(
        "greedy",
        [helper.make_tensor_value_info("source_ids", INT64, ["A", "S"]), *defaults, flag],
        search.outputs(b, final),
        list(imports.values()),
        graphs.decoder.ir_version,
    )
    names = ",".join(value.name for value in (*defaults, flag))
    helper.set_model_props(model, {**model_metadata(config), OPTIONS_KEY: names})
    return move_constants_inward(hoist_invariants(model))


class _GreedySearch:
    """The loops of greedy.onnx, and the tensors outside them that never change."""

    def __init__(
        self,
        b: GraphBuilder,
        config: TransformerConfig,
        decoder: onnx.ModelProto,
        memory_names: Sequence[str],
        element: int,
    ) -> None:
        self.config = config
        self.decoder = decoder
        self.memory_names = memory_names
        self.element = element
        self.remembered = decoder_state(config)
        self.pasts = self.remembered.pasts
        self.types = self._types()
        one = b.int64([1])
        batch = b.size("source_ids", 0)
        self.prefix = b.Expand("target_prefix", b.Concat(batch, one, axis=0))  # [A, P]
        self.prefix_length = b.size(self.prefix, 1)
        self.last_length = b.Add(b.Reshape("max_length", one), self.prefix_length)  # [1]
        # [1] how many rows of 1 have scores: none where they are not wanted.
        self.scored = b.Cast(b.Reshape("with_scores", one), to=INT64)

    def _types(self) -> TensorTypes:
        types: TensorTypes = {
            "target_ids": (INT64, ["B", 1]),
            "running": (INT64, ["B", 1]),
            "position": (INT64, [1]),
            "sentence": (INT64, ["B"]),
            "written": (INT64, ["B", "T"]),
            "log_probs": (FLOAT, ["B or 0", "T"]),
            "best_block": (FLOAT, ["B", "X"]),
            "result_ids": (INT64, ["A", "T"]),
            "result_log_probs": (FLOAT, ["A or 0", "T"]),
            "result_largest": (FLOAT, ["A", 1]),
            "token": (INT64, ["B", 1]),
            "log_prob": (FLOAT, ["B or 0", 1]),
            **memory_types(self.config, self.memory_names, self.element),
            **self.remembered.types(self.element),
        }
        return types

    def start(self, b: GraphBuilder) -> dict[str, str]:
        """The state before the first step."""
        config, batch = self.config, b.size("source_ids", 0)
        by_row = b.Concat(batch, b.int64([1]), axis=0)
        nothing = b.Concat(batch, b.int64([0]), axis=0)
        unscored = b.Concat(b.Mul(batch, self.scored), b.int64([0]), axis=0)
        remembered = self.remembered.start(b, batch, b.int64([1]), self.element)
        no_ids = b.Expand(b.int64(0), nothing)
        no_log_probs = b.Expand(b.float32(0), unscored)
        return {
            "target_ids": b.Expand(b.int64(config.bos_id), by_row),
            "running": b.Expand(b.int64(1), by_row),
            "position": b.int64([0]),
            "sentence": b.Range(b.int64(0), b.Squeeze(batch), b.int64(1)),
            "written": no_ids,
            "log_probs": no_log_probs,
            **{name: remembered[name] for name in self.pasts},
            "result_ids": no_ids,
            "result_log_probs": no_log_probs,
            "result_largest": b.Expand(b.float32(0), by_row),
        }

    def phase(
        self, b: GraphBuilder, state: dict[str, str], _number: str
    ) -> tuple[str, dict[str, str]]:
        """Body of the outer loop: steps, then what they wrote, then out with the finished."""
        one, position, sentence = b.int64([1]), state["position"], state["sentence"]
        positions = b.Add(position, b.int64(np.arange(PHASE_STEPS)))
        encodings = position_encoding(b, positions, self.config)  # [PHASE_STEPS, D]
        forced = self._forced_tokens(b, positions, sentence)
        batch = b.size(sentence, 0)
        fewest = fewest_running(b, batch)
        scored_rows = b.Range(b.int64(0), b.Squeeze(b.Mul(batch, self.scored)), b.int64(1))
        memory = {name: state[name] for name in self.memory_names}

        def step(b: GraphBuilder, s: dict[str, str], number: str) -> tuple[str, dict[str, str]]:
            return self._step(b, s, number, memory, encodings, forced, fewest, scored_rows)

        steps = b.Min(b.int64([PHASE_STEPS]), b.Sub(self.last_length, position))
        carried = {name: state[name] for name in ("target_ids", "running", *self.pasts)}
        carried["best_block"] = b.Gather(state["result_largest"], sentence, axis=0)
        stepped = b.loop(
            steps, b.constant([True], np.bool_), carried, step, self.types, ("token", "log_prob")
        )
        tokens = b.Transpose(b.Squeeze(stepped["token"], b.int64([2])), perm=[1, 0])
        log_probs = b.Transpose(b.Squeeze(stepped["log_prob"], b.int64([2])), perm=[1, 0])
        written = b.Concat(state["written"], tokens, axis=1)
        summands = b.Concat(state["log_probs"], log_probs, axis=1)
        position = b.Add(position, b.size(tokens, 1))

        rows = b.Unsqueeze(sentence, one)
        rows_scored = b.Gather(rows, scored_rows, axis=0)
        results = {
            "result_ids": self._note(b, state["result_ids"], rows, written, position),
            "result_log_probs": self._note(
                b, state["result_log_probs"], rows_scored, summands, position
            ),
            "result_largest": b.ScatterND(
                state["result_largest"], rows, b.ReduceMax(stepped["best_block"], one, keepdims=1)
            ),
        }
        kept = b.Reshape(b.NonZero(b.Reshape(stepped["running"], b.int64([-1]))), b.int64([-1]))
        kept_scored = b.Slice(kept, b.int64([0]), b.Mul(b.size(kept, 0), self.scored))
        going_on = {
            **{name: stepped[name] for name in ("target_ids", "running", *self.pasts)},
            **memory,
            "sentence": sentence,
            "written": written,
        }
        more = b.And(b.Greater(b.size(kept, 0), b.int64([0])), b.Less(position, self.last_length))
        return more, {
            **{name: b.Gather(tensor, kept, axis=0) for name, tensor in going_on.items()},
            "log_probs": b.Gather(summands, kept_scored, axis=0),
            "position": position,
            **results,
        }

    def _forced_tokens(self, b: GraphBuilder, positions: str, sentence: str) -> str:
        """The rule "target prefix": [PHASE_STEPS, B, 1], -1 where the model chooses."""
        one = b.int64([1])
        by_sentence = b.Gather(self.prefix, sentence, axis=0)  # [B, P]
        free = b.Expand(b.int64(-1), b.Concat(b.size(sentence, 0), one, axis=0))
        with_free = b.Concat(by_sentence, free, axis=1)  # [B, P + 1]
        columns = b.Min(positions, self.prefix_length)
        chosen = b.Gather(with_free, columns, axis=1)  # [B, PHASE_STEPS]
        name: str = b.Unsqueeze(b.Transpose(chosen, perm=[1, 0]), b.int64([2]))
        return name

    def _step(
        self,
        b: GraphBuilder,
        state: Mapping[str, str],
        number: str,
        memory: Mapping[str, str],
        encodings: str,
        forced: str,
        fewest: str,
        scored_rows: str,
    ) -> tuple[str, dict[str, str]]:
        """Body of the inner loop: one token for every sentence."""
        presents = self.remembered.presents
        logits, *caches = b.insert(
            self.decoder.graph,
            "decoder/",
            {
                **{name: state[name] for name in ("target_ids", *self.pasts)},
                **memory,
                "position_encoding": b.Gather(encodings, number, axis=0),
            },
            ["logits", *presents, *listed_output(self.decoder)],
        )
        ids = caches.pop() if listed_output(self.decoder) else ""
        best, best_block = best_token(b, logits, self.config.target_vocab_size, ids)
        wanted = b.Gather(forced, number, axis=0)  # [B, 1]
        token = b.Where(b.Less(wanted, b.int64(0)), best, wanted)
        log_probs = b.LogSoftmax(b.Gather(logits, scored_rows, axis=0), axis=1)
        is_eos = b.Equal(token, b.int64(self.config.eos_id))
        running = b.Where(is_eos, b.int64(0), state["running"])
        goes_on = b.Greater(b.ReduceSum(running, b.int64([0]), keepdims=0), fewest)
        return goes_on, {
            "target_ids": token,
            "running": running,
            "best_block": best_block,
            "token": b.Identity(token),
            "log_prob": b.ReduceMax(log_probs, b.int64([1]), keepdims=1),
            **dict(zip(self.pasts, caches, strict=True)),
        }

    def _note(self, b: GraphBuilder, results: str, rows: str, new: str, width: str) -> str:
        """The results [A, .] with the rows of the sentences that ran replaced, [A, width]."""
        lacking = b.Concat(b.int64([0, 0, 0]), b.Sub(width, b.size(results, 1)), axis=0)
        name: str = b.ScatterND(b.Pad(results, lacking), rows, new)
        return name

    def outputs(
        self, b: GraphBuilder, final: Mapping[str, str]
    ) -> dict[str, tuple[str, int, list[int | str]]]:
        """Cut every sentence at its first EOS: the outputs of greedy.onnx."""
        config, one = self.config, b.int64([1])
        start = (self.prefix_length, b.int64([np.iinfo(np.int64).max]), one)
        ids = b.Slice(final["result_ids"], *start)  # [A, T]
        width = b.size(ids, 1)
        # A column of EOS after the last: a sentence that has none is as long as it can be.
        is_eos = b.Cast(b.Equal(ids, b.int64(config.eos_id)), to=INT64)
        closed = b.Pad(is_eos, b.int64([0, 0, 0, 1]), one)
        lengths = b.ArgMax(closed, axis=1, keepdims=1)  # [A, 1]
        columns = b.Range(b.int64(0), b.Squeeze(width), b.int64(1))
        cut = b.Where(b.Less(columns, lengths), ids, b.int64(config.pad_id))

        sums = b.CumSum(b.Slice(final["result_log_probs"], *start), one)  # [A or 0, T]
        last = b.Min(lengths, b.Sub(width, one))
        rows = b.Slice(last, b.int64([0]), b.size(sums, 0))
        total = b.GatherElements(sums, rows, axis=1)
        counted = b.Cast(b.Add(b.Add(rows, one), self.prefix_length), to=FLOAT)
        scores = b.Div(total, b.Pow(counted, "length_penalty"))
        missing = b.Concat(b.int64([0, 0]), b.Sub(b.size(ids, 0), b.size(sums, 0)), b.int64([0]),
                           axis=0)  # fmt: skip
        scores = b.Pad(scores, missing)
        finite = b.Greater(final["result_largest"], b.float32(-np.inf))  # false for NaN too
        scores = b.Where(finite, scores, b.float32(-np.inf))
        return {
            "output_ids": (b.Unsqueeze(cut, one), INT64, ["A", 1, "T"]),
            "output_lengths": (lengths, INT64, ["A", 1]),
            "output_scores": (scores, FLOAT, ["A", 1]),
        }
