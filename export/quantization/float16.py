"""fp16, for CUDA: weights, activations and cache in half precision, as one pass over a graph.

Everything that is computed from a weight matrix is float16; positions and masks stay in float32,
because float16 would be too coarse for them. Layer normalization computes in float32 inside (its
stash_type), so does attention's softmax on CUDA, and logits are cast to float32, because the search
adds up log-probabilities.
"""

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

FLOAT, FLOAT16 = TensorProto.FLOAT, TensorProto.FLOAT16
LARGEST = float(np.finfo(np.float16).max)
CARRIED = ("past_", "present_", "cross_")  # inputs and outputs that never leave the device: float16
# Operators whose output type does not follow the input's.
TYPE_BARRIERS = {"Shape", "Size", "Equal", "Greater", "Less", "Cast"}


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a float32 graph that computes in float16; the module says what stays in float32.

    Weights beyond what float16 holds are clipped to its largest number.
    """
    halved = onnx.ModelProto()
    halved.CopyFrom(model)
    graph = halved.graph
    floats = {t.name: t for t in graph.initializer if t.data_type == FLOAT}
    half = {value.name for value in graph.input if _is_carried(value)}
    nodes: list[NodeProto] = []
    made: dict[str, TensorProto] = {}  # initializers in float16
    cast: dict[str, str] = {}  # float32 tensors, and what holds them in float16
    declared = {value.name for value in graph.input if _is_float(value)}
    singles = {*declared, *floats} - half  # tensors in float32

    for node in graph.node:
        reads_matrix = any(name in floats and len(floats[name].dims) == 2 for name in node.input)
        in_half = any(name in half for name in node.input)
        if node.op_type not in TYPE_BARRIERS and (reads_matrix or in_half):
            for index, name in enumerate(node.input):
                if name in floats:
                    node.input[index] = f"{name}.float16"
                    if name not in made:
                        made[name] = _halved(floats[name])
                elif name in singles:
                    if name not in cast:
                        cast[name] = f"{name}.float16"
                        nodes.append(_cast(name, cast[name], FLOAT16))
                    node.input[index] = cast[name]
            half.update(node.output)
        elif node.op_type == "Cast":
            to = next(a.i for a in node.attribute if a.name == "to")
            singles.update(node.output if to == FLOAT else ())
        elif node.op_type not in TYPE_BARRIERS and any(name in singles for name in node.input):
            singles.update(node.output)
        nodes.append(node)

    for value in (*graph.input, *graph.output):
        if _is_carried(value):
            value.type.tensor_type.elem_type = FLOAT16
    for value in graph.output:
        if value.name in half and not _is_carried(value):
            inner = f"{value.name}.float16"
            for node in nodes:
                for names in (node.input, node.output):
                    names[:] = [inner if name == value.name else name for name in names]
            nodes.append(_cast(inner, value.name, FLOAT))
    used = {name for node in nodes for name in node.input}
    constants = [t for t in (*graph.initializer, *made.values()) if t.name in used]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
    return halved


def _is_float(value: onnx.ValueInfoProto) -> bool:
    return value.type.tensor_type.elem_type == FLOAT


def _is_carried(value: onnx.ValueInfoProto) -> bool:
    return value.name.startswith(CARRIED)


def _halved(tensor: TensorProto) -> TensorProto:
    values = numpy_helper.to_array(tensor)
    clipped = np.where(np.isfinite(values), values.clip(-LARGEST, LARGEST), values)
    return numpy_helper.from_array(clipped.astype(np.float16), f"{tensor.name}.float16")


def _cast(tensor: str, output: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [tensor], [output], name=output, to=to)
