"""The data-free shortlist: a preview of all logits chooses the tokens whose logits are computed.

Every step previews all logits through few dimensions (low_rank.py), and computes those of the
best CANDIDATES of each row from the whole hidden state. The other tokens keep their preview: so
log-probabilities still have a sum over the whole vocabulary, and rules on logits find one for every
token. Rows are independent of each other.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from tfm.export.graphs.builder import GraphBuilder
from tfm.export.quantization.calibrate import best_params
from tfm.export.quantization.rounding import QuantParams, quantize_rows

from .low_rank import Floats, LowRankProjection, fit_low_rank, smallest_rank
from .output_layer import (
    DOMAIN,
    EXACT_BIAS,
    PREFIX,
    OutputLayer,
    input_rounding,
    logits_in_float,
    replace_output_layer,
)

CANDIDATES = 64


def fit_preview(layer: OutputLayer, rows: Floats, rank: int | None = None) -> LowRankProjection:
    """The preview of an output layer.

    Args:
        rows: hidden states [n, D] on real sentences
        rank: None is the smallest that loses few best tokens on these rows
    """
    if rank is None:
        rank = smallest_rank(layer.weight, layer.bias, rows, CANDIDATES)
    return fit_low_rank(layer.weight, layer.bias, rows, rank)


def with_preview(
    decoder: onnx.ModelProto, layer: OutputLayer, preview: LowRankProjection, rows: Floats
) -> onnx.ModelProto:
    """A decoder of any precision with preview and exact logits instead of its output layer.

    The preview is int8. The exact logits are products of the hidden state with the weight's rows,
    in float where the decoder has them in float. Else the rows are bytes, and the hidden state is
    rounded as the decoder's own output layer rounds it: the logits are that layer's.

    Args:
        layer: of the decoder in float32
        rows: hidden states [n, D] that the range of the reduced ones is chosen on
    """
    rounding = None if logits_in_float(decoder) else input_rounding(decoder, layer.name)

    def build(b: GraphBuilder) -> str:
        previewed = _previewed(b, layer.hidden, preview, best_params(preview.reduce(rows)))
        count = min(CANDIDATES, len(layer.weight))
        _, ids = b.TopK(previewed, b.int64([count]), outputs=2, axis=1, sorted=0)  # [N, C]
        exact = _exact(b, layer, ids, rounding)
        name: str = b.ScatterElements(previewed, ids, exact, axis=1)
        return name

    return replace_output_layer(decoder, build)


def _previewed(
    b: GraphBuilder, hidden: str, preview: LowRankProjection, params: QuantParams
) -> str:
    """The preview of all logits [N, V] in int8."""
    reduced = b.Gemm(
        hidden,
        b.initializer(f"{PREFIX}reduction", preview.reduction),
        b.initializer(f"{PREFIX}offset", preview.offset),
    )
    scale = b.initializer(f"{PREFIX}input_scale", np.float32(params.scale))
    zero_point = b.initializer(f"{PREFIX}input_zero_point", np.uint8(params.zero_point))
    values, scales = quantize_rows(preview.table)
    name: str = b.MatMulIntegerToFloat(
        b.QuantizeLinear(reduced, scale, zero_point),
        b.initializer(f"{PREFIX}table.int8", np.ascontiguousarray(values.T)),
        scale,
        b.initializer(f"{PREFIX}table.scales", scales),
        zero_point,
        "",
        b.initializer(f"{PREFIX}bias", preview.bias),
        domain=DOMAIN,
    )
    return name


def _exact(
    b: GraphBuilder, layer: OutputLayer, ids: str, rounding: Sequence[TensorProto] | None
) -> str:
    """The logits [N, C] of the tokens `ids` [N, C] of each row."""
    hidden = layer.hidden
    if rounding is None:
        rows = b.Gather(b.initializer(layer.name, layer.weight), ids, axis=0)  # [N, C, D]
    else:
        values, scales = quantize_rows(layer.weight)
        integers = b.Gather(b.initializer(f"{layer.name}.int8", values), ids, axis=0)
        rows = b.Cast(integers, to=TensorProto.FLOAT)
        params = [b.initializer(t.name, numpy_helper.to_array(t)) for t in rounding]
        hidden = b.DequantizeLinear(b.QuantizeLinear(hidden, *params), *params)
    columns = b.Unsqueeze(hidden, b.int64([2]))  # [N, D, 1]
    logits = b.Squeeze(b.MatMul(rows, columns), b.int64([2]))
    if rounding is not None:
        by_token = b.initializer(f"{layer.name}.scales", scales)
        logits = b.Mul(logits, b.Gather(by_token, ids, axis=0))
    if layer.bias.any():
        logits = b.Add(logits, b.Gather(b.initializer(EXACT_BIAS, layer.bias), ids))
    name: str = logits
    return name
