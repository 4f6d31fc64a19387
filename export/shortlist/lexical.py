"""The lexical shortlist in the graphs: a sentence is written with the tokens of its own list.

The encoder finds the list of every sentence (trainer/data/shortlist.py). The decoder computes the
logits of the union of its batch's lists, and gives a row -inf where a token is not in its own
sentence's list: so no sentence depends on its batch mates. The union's rows of the output layer
are gathered once for many steps, because a loop does not compute anew what none of its steps
changes (graphs/passes.py).

Shapes: B sentences, N rows (B x beams), S source length, V target vocabulary, C tokens of the
union, D d_model, L the longest list of a source token.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tfm.export.graphs.builder import GraphBuilder
from tfm.export.graphs.candidates import BLOCK, LISTED_IDS
from tfm.export.quantization.rounding import quantize_rows
from tfm.runtime.graph_contract import SHORTLIST
from tfm.trainer.config import TransformerConfig
from tfm.trainer.data.shortlist import Shortlist

from .output_layer import (
    DOMAIN,
    EXACT_BIAS,
    LOGITS,
    PREFIX,
    OutputLayer,
    input_rounding,
    logits_in_float,
    replace_output_layer,
)

UINT8 = TensorProto.UINT8
LAST = int(np.iinfo(np.int64).max)


def with_lists(
    encoder: onnx.ModelProto, shortlist: Shortlist, config: TransformerConfig
) -> onnx.ModelProto:
    """An encoder with one more output: `shortlist` [B, V] uint8, 1 where a sentence may use a
    token."""
    changed = onnx.ModelProto()
    changed.CopyFrom(encoder)
    b = GraphBuilder()
    one = b.int64([1])
    # Lists have different lengths: what is beyond the end of one reads an EOS.
    nothing = len(shortlist.targets)
    targets = np.append(shortlist.targets, config.eos_id)
    small = np.uint16 if config.target_vocab_size <= 1 << 16 else np.int32
    starts = b.initializer(f"{PREFIX}starts", shortlist.starts.astype(np.int32))
    longest = max(1, int(np.diff(shortlist.starts).max(initial=0)))
    columns = b.initializer(f"{PREFIX}columns", np.arange(longest, dtype=np.int32))
    begin = b.Unsqueeze(b.Gather(starts, "source_ids"), b.int64([2]))
    end = b.Unsqueeze(b.Gather(starts, b.Add("source_ids", one)), b.int64([2]))
    places = b.Add(begin, columns)  # [B, S, L]
    places = b.Where(b.Less(places, end), places, b.constant(nothing, np.int32))
    listed = b.Gather(b.initializer(f"{PREFIX}targets", targets.astype(small)), places)
    ids = b.Cast(b.Reshape(listed, b.int64([0, -1])), to=TensorProto.INT64)  # [B, S * L]
    always = np.zeros((1, config.target_vocab_size), np.uint8)
    always[:, shortlist.always] = 1
    batch = b.size("source_ids", 0)
    rows = b.Expand(b.initializer(f"{PREFIX}always", always), b.Concat(batch, one, axis=0))
    ones = b.Expand(b.constant(1, np.uint8), b.Shape(ids))
    marked = b.ScatterElements(rows, ids, ones, axis=1)
    graph = changed.graph
    graph.node.extend([*b.nodes, helper.make_node("Identity", [marked], [SHORTLIST], SHORTLIST)])
    known = {tensor.name for tensor in graph.initializer}
    graph.initializer.extend(t for name, t in b.initializers.items() if name not in known)
    graph.output.append(_value(config.target_vocab_size))
    return changed


def with_lexical(
    decoder: onnx.ModelProto, layer: OutputLayer, *, several_beams: bool
) -> onnx.ModelProto:
    """A decoder of any precision that computes the logits of its sentences' lists alone.

    It has one more input, `shortlist` [B, V] as the encoder gives it, and one more output,
    `listed_ids` [C]: logits are [N, C], of these tokens. In a row those that are not in its
    sentence's list are -inf, and the others as exact as the decoder's own.

    Args:
        layer: of the decoder in float32
        several_beams: whether N may be a multiple of B
    """
    scales_of_input = None if logits_in_float(decoder) else input_rounding(decoder, layer.name)

    def build(b: GraphBuilder) -> str:
        ids = _union(b)
        if scales_of_input is None:
            logits = _float_product(b, layer, ids)
        else:
            names = [b.initializer(t.name, numpy_helper.to_array(t)) for t in scales_of_input]
            logits = _int8_product(b, layer, ids, *names)
        b.nodes.append(helper.make_node("Identity", [ids], [LISTED_IDS], LISTED_IDS))
        return _of_own_lists(b, logits, ids, several_beams)

    listed_ids = helper.make_tensor_value_info(LISTED_IDS, TensorProto.INT64, ["C"])
    changed = replace_output_layer(decoder, build, [listed_ids])
    changed.graph.input.append(_value(len(layer.weight)))
    (logits,) = (value for value in changed.graph.output if value.name == LOGITS)
    logits.type.tensor_type.shape.dim[1].dim_param = "C"
    return changed


def _union(b: GraphBuilder) -> str:
    """The tokens [C] of all lists, ascending; then the first again until C is a multiple of BLOCK.

    There are at least two blocks: the search looks for the best of them.
    """
    anywhere = b.ReduceMax(SHORTLIST, b.int64([0]), keepdims=0)
    ids = b.Reshape(b.NonZero(anywhere), b.int64([-1]))
    count = b.Shape(ids)
    whole = b.Mul(b.Div(b.Add(count, b.int64([BLOCK - 1])), b.int64([BLOCK])), b.int64([BLOCK]))
    lacking = b.Sub(b.Max(whole, b.int64([2 * BLOCK])), count)
    first = b.Slice(ids, b.int64([0]), b.int64([1]))
    name: str = b.Concat(ids, b.Expand(first, lacking), axis=0)
    return name


def _value(vocab_size: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(SHORTLIST, UINT8, ["B", vocab_size])


def _float_product(b: GraphBuilder, layer: OutputLayer, ids: str) -> str:
    """The logits [N, C] of some tokens."""
    rows = b.Gather(b.initializer(layer.name, layer.weight), ids, axis=0)
    name: str = b.Gemm(layer.hidden, rows, *_bias(b, layer, ids), transB=1)
    return name


def _int8_product(
    b: GraphBuilder, layer: OutputLayer, ids: str, scale: str, zero_point: str
) -> str:
    """The logits [N, C] of some tokens, to the bit those of the whole layer in int8.

    ONNX Runtime does not pack the gathered columns for its kernel; the product is as fast.
    """
    values, scales = quantize_rows(layer.weight)
    rows = b.Gather(b.initializer(f"{layer.name}.int8", values), ids, axis=0)
    bias = _bias(b, layer, ids)
    name: str = b.MatMulIntegerToFloat(
        b.QuantizeLinear(layer.hidden, scale, zero_point),
        b.Transpose(rows, perm=[1, 0]),
        scale,
        b.Gather(b.initializer(f"{layer.name}.scales", scales), ids, axis=0),
        zero_point,
        *(["", *bias] if bias else []),
        domain=DOMAIN,
    )
    return name


def _bias(b: GraphBuilder, layer: OutputLayer, ids: str) -> list[str]:
    """The bias [C] of some tokens, where the layer has one."""
    if not layer.bias.any():
        return []
    return [b.Gather(b.initializer(EXACT_BIAS, layer.bias), ids, axis=0)]


def _of_own_lists(b: GraphBuilder, logits: str, ids: str, several_beams: bool) -> str:
    """Logits [N, C] of a union, -inf where a token is not in the sentence's list or stands there
    a second time."""
    own = b.Cast(b.Gather(SHORTLIST, ids, axis=1), to=TensorProto.BOOL)  # [B, C]
    ascends = b.Greater(
        b.Slice(ids, b.int64([1]), b.int64([LAST])), b.Slice(ids, b.int64([0]), b.int64([-1]))
    )
    first = b.Concat(b.constant([True], np.bool_), ascends, axis=0)
    mask = b.Where(b.And(own, first), b.float32(0), b.float32(-np.inf))
    if not several_beams:
        name: str = b.Add(logits, mask)
        return name
    count = b.Shape(ids)
    by_beam = b.Concat(b.size(SHORTLIST, 0), b.int64([-1]), count, axis=0)
    masked = b.Add(b.Reshape(logits, by_beam), b.Unsqueeze(mask, b.int64([1])))  # [B, K, C]
    by_row: str = b.Reshape(masked, b.Concat(b.int64([-1]), count, axis=0))
    return by_row
