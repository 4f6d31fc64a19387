"""Passes: functions that take a graph and return a changed copy with the same results."""

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import onnxsim
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with constants folded and redundant nodes removed, by onnxsim.

    onnxsim's own comparison is not used: verify.py compares whole translations with PyTorch.
    """
    simplified, _ = onnxsim.simplify(model)
    return simplified  # type: ignore[no-any-return]


def name_dimensions(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose dimensions E + K and N have these names instead of torch's expressions."""
    named = onnx.ModelProto()
    named.CopyFrom(model)
    for value in (*named.graph.input, *named.graph.output):
        shape = value.type.tensor_type.shape
        if value.name == "ancestry":
            shape.dim[3].dim_param = "E + K"
        elif value.name == "logits" or "_state." in value.name:
            shape.dim[0].dim_param = "N"
        elif value.name.startswith("present_"):
            shape.dim[2].dim_param = "E + K"
    return named


def drop_clipped_relu(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without the ReLUs that quantization makes superfluous.

    Quantizing to unsigned bytes with zero point 0 turns negative values into 0, as ReLU does. So a
    ReLU can go if nothing else reads its output.
    """
    dropped = onnx.ModelProto()
    dropped.CopyFrom(model)
    graph = dropped.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers: dict[str, list[NodeProto]] = {value.name: [] for value in graph.output}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def clips_at_zero(node: NodeProto) -> bool:
        if node.op_type != "QuantizeLinear":
            return False
        zero_point = numpy_helper.to_array(constants[node.input[2]])
        return zero_point.dtype == np.uint8 and not zero_point.any()

    graph_outputs = {value.name for value in graph.output}
    for node in list(graph.node):
        output = node.output[0]
        if (
            node.op_type == "Relu"
            and output not in graph_outputs
            and all(map(clips_at_zero, readers[output]))
        ):
            for reader in readers[output]:
                reader.input[0] = node.input[0]
            graph.node.remove(node)
    return dropped


def hoist_invariants(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which a loop computes nothing anew that is the same in all its iterations.

    What depends on constants alone stays: ONNX Runtime computes it once, when it loads the model,
    and packs a weight only where it is used.
    """
    hoisted = onnx.ModelProto()
    hoisted.CopyFrom(model)
    constants = {tensor.name for tensor in hoisted.graph.initializer}
    constants -= {value.name for value in hoisted.graph.input}
    _hoist(hoisted.graph, constants)
    return hoisted


def _hoist(graph: GraphProto, constants: set[str]) -> None:
    """Move invariant nodes out of the graph's loops, those of inner loops first."""
    nodes: list[NodeProto] = []
    for node in graph.node:
        for body in bodies_of_node(node):
            _hoist(body, constants)
        if node.op_type == "Loop":
            (body,) = bodies_of_node(node)
            moved = _invariants(body, constants)
            names = {output for inner in moved for output in inner.output}
            kept = [inner for inner in body.node if names.isdisjoint(inner.output)]
            del body.node[:]
            body.node.extend(kept)
            nodes.extend(moved)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _invariants(body: GraphProto, constants: set[str]) -> list[NodeProto]:
    """The nodes of a loop's body that depend on tensors from outside it, and on nothing else."""
    varying = {value.name for value in body.input}
    results = {value.name for value in body.output}
    found = []
    for node in body.node:
        inputs = {name for name in node.input if name}
        fixed = (
            not inputs <= constants
            and varying.isdisjoint(inputs)
            and results.isdisjoint(node.output)
            and not any(True for _ in bodies_of_node(node))
        )
        if fixed:
            found.append(node)
        else:
            varying.update(node.output)
    return found


def move_constants_inward(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which a constant that only one loop or branch uses belongs to its body.

    ONNX Runtime packs a weight for its kernels once, when it loads the model, but only if the
    weight is a constant of the graph that uses it or of the next one outside. A weight further
    out is packed anew at every step, which takes longest, beside the rest, at batch size 1
    (onnxruntime 1.32; seen in its profile).
    """
    moved = onnx.ModelProto()
    moved.CopyFrom(model)
    inputs = {value.name for value in moved.graph.input}  # their constants are defaults
    constants = {t.name: t for t in moved.graph.initializer if t.name not in inputs}
    kept = [tensor for tensor in moved.graph.initializer if tensor.name in inputs]
    remaining = _place_constants(moved.graph, constants)
    kept += [constants[name] for name in constants if name in remaining]
    del moved.graph.initializer[:]
    moved.graph.initializer.extend(kept)
    return moved


def _place_constants(graph: GraphProto, constants: Mapping[str, TensorProto]) -> set[str]:
    """Put constants into the bodies of the graph; returns those that belong to the graph itself."""
    bodies = list(bodies_of(graph))
    used_by_body = [_names_used(body) for body in bodies]
    used_here = {name for node in graph.node for name in node.input}
    used_here |= {value.name for value in graph.output}
    here = set()
    for name in constants:
        users = sum(name in used for used in used_by_body)
        if name in used_here or users != 1:
            here.add(name)
    for body, used in zip(bodies, used_by_body, strict=True):
        inner = {name: tensor for name, tensor in constants.items() if name in used - here}
        own = _place_constants(body, inner)
        body.initializer.extend(tensor for name, tensor in inner.items() if name in own)
    return here


def bodies_of(graph: GraphProto) -> Iterator[GraphProto]:
    """The bodies of a graph's loops and branches; not the bodies in these."""
    for node in graph.node:
        yield from bodies_of_node(node)


def bodies_of_node(node: NodeProto) -> Iterator[GraphProto]:
    """The body of a loop, or both of a branch."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g


def _names_used(graph: GraphProto) -> set[str]:
    """Every tensor that a graph or a body in it reads or gives out."""
    names = {name for node in graph.node for name in node.input}
    names |= {value.name for value in graph.output}
    return names.union(*map(_names_used, bodies_of(graph)))
