"""Mutants of an ONNX graph that are valid protocol buffers, and often valid graphs."""

import random
from collections.abc import Callable
from pathlib import Path

from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    StringStringEntryProto,
    TensorProto,
    TypeProto,
    helper,
    numpy_helper,
)

from .mutation import Allowed, Mutation

ABSURD = 1 << 40
Change = Callable[[ModelProto, random.Random, Path], Mutation]


def mutate_graph(data: bytes, rng: random.Random, outside: Path) -> tuple[bytes, Mutation]:
    """One change to a graph.

    Args:
        data: an .onnx file
        outside: a file outside the folder that holds the right weights
    """
    model = ModelProto.FromString(data)
    change = rng.choice(CHANGES)
    try:
        mutation = change(model, rng, outside)
    except (IndexError, ValueError):  # this graph has nothing of what was to be changed
        model = ModelProto.FromString(data)
        mutation = _rename_interface(model, rng, outside)
    return model.SerializeToString(), mutation


def _interface(model: ModelProto, rng: random.Random) -> tuple[str, int, object]:
    side = rng.choice(("input", "output"))
    values = getattr(model.graph, side)
    index = rng.randrange(len(values))
    return side, index, values[index]


def _all_graphs(graph: GraphProto) -> list[GraphProto]:
    graphs = [graph]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                graphs += _all_graphs(attribute.g)
    return graphs


def _node(model: ModelProto, rng: random.Random) -> tuple[GraphProto, NodeProto]:
    graph = rng.choice([g for g in _all_graphs(model.graph) if g.node])
    return graph, rng.choice(graph.node)


def _tensor(model: ModelProto, rng: random.Random) -> TensorProto:
    return rng.choice([t for g in _all_graphs(model.graph) for t in g.initializer])


def _rename_interface(model: ModelProto, rng: random.Random, _outside: Path) -> Mutation:
    side, index, value = _interface(model, rng)
    old = value.name
    new = rng.choice((old + "_", "x", old.upper(), "\x1b[31m" + old, old + "\n"))
    if side == "output":
        model.graph.node.append(helper.make_node("Identity", [old], [new]))
    else:
        model.graph.node.insert(0, helper.make_node("Identity", [new], [old]))
    model.graph.__getattribute__(side)[index].name = new
    return Mutation(f"graph: {side} renamed", f"{old!r} to {new!r}", Allowed.THE_SAME)


def _retype_interface(model: ModelProto, rng: random.Random, _outside: Path) -> Mutation:
    """Another element type outside, and a Cast to or from the one inside."""
    side, _, value = _interface(model, rng)
    old, inside = value.type.tensor_type.elem_type, value.name + "_inside"
    types = (TensorProto.INT32, TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.BOOL)
    new = rng.choice([t for t in (*types, TensorProto.STRING, TensorProto.FLOAT16) if t != old])
    value.type.tensor_type.elem_type = new
    for graph in _all_graphs(model.graph):
        for node in graph.node:
            names = node.input if side == "input" else node.output
            for index, name in enumerate(names):
                if name == value.name:
                    names[index] = inside
    if side == "input":
        model.graph.node.insert(0, helper.make_node("Cast", [value.name], [inside], to=old))
    else:
        model.graph.node.append(helper.make_node("Cast", [inside], [value.name], to=new))
    detail = f"{value.name}: type {old} to {new}"
    return Mutation(f"graph: {side} of another type", detail, Allowed.THE_SAME)


def _reshape_interface(model: ModelProto, rng: random.Random, _outside: Path) -> Mutation:
    side, _, value = _interface(model, rng)
    shape = value.type.tensor_type.shape
    choice = rng.randrange(4)
    if choice == 0:
        del shape.dim[rng.randrange(len(shape.dim)) :]
    elif choice == 1:
        shape.dim.add().dim_value = rng.choice((1, 2, 7, ABSURD))
    elif choice == 2:
        rng.choice(shape.dim).dim_value = rng.choice((0, 1, 2, 7, ABSURD, -1, -5))
    else:
        rng.choice(shape.dim).dim_param = rng.choice(("x", "", "\x00", "batch"))
    return Mutation(f"graph: {side} of another shape", value.name, Allowed.THE_SAME)


def _remove_interface(model: ModelProto, rng: random.Random, _outside: Path) -> Mutation:
    side, index, value = _interface(model, rng)
    name = value.name
    del model.graph.__getattribute__(side)[index]
    return Mutation(f"graph: {side} removed", name, Allowed.THE_SAME)


def _add_input(model: ModelProto, rng: random.Random, _outside: Path) -> Mutation:
    elem_type = rng.choice((TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING))
    name = rng.choice(("more", "beam_size2", "a" * 100_000))
    model.graph.input.append(helper.make_tensor_value_info(name, elem_type, rng.choice(([], [1]))))
    return Mutation("graph: input added", name[:20], Allowed.THE_SAME)


def _swap_interface(model: ModelProto, rng: random.Random, _outside: Path) -> Mutation:
    side = rng.choice(("input", "output"))
    values = getattr(model.graph, side)
    one, other = rng.sample(range(len(values)), 2) if len(values) > 1 else (0, 0)
    names = values[one].name, values[other].name
    for graph in _all_graphs(model.graph):
        for node in graph.node:
            for ends in (node.input, node.output):
                for index, name in enumerate(ends):
                    if name in names:
                        ends[index] = names[1 - names.index(name)]
    return Mutation(f"graph: {side}s swapped", " and ".join(names), Allowed.ANOTHER)


def _drop_node(model: ModelProto, rng: random.Random, _outside: Path) -> Mutation:
    graph, node = _node(model, rng)
    detail = f"{node.op_type} {node.name}"
    graph.node.remove(node)
    return Mutation("graph: node removed", detail, Allowed.ANOTHER)


def _rewire(model: ModelProto, rng: random.Random, _outside: Path) -> Mutation:
    graph, node = _node(model, rng)
    values = [name for other in graph.node for name in other.output]
    index = rng.randrange(len(node.input))
    new = rng.choice([*values, "", "nobody", *node.output])
    detail = f"{node.op_type} {node.name}: {node.input[index]} to {new}"
    node.input[index] = new
    return Mutation("graph: node rewired", detail, Allowed.ANOTHER, may_be_slow=True)


def _other_operator(model: ModelProto, rng: random.Random, _outside: Path) -> Mutation:
    _, node = _node(model, rng)
    old = node.op_type
    node.op_type = rng.choice(("Add", "MatMul", "Gather", "Loop", "Tile", "Expand", "Nothing", ""))
    if rng.random() < 0.2:
        node.domain = rng.choice(("com.microsoft", "nobody", "ai.onnx.ml"))
    return Mutation("graph: other operator", f"{old} to {node.op_type}", Allowed.ANOTHER, True)


def _attribute(model: ModelProto, rng: random.Random, _outside: Path) -> Mutation:
    nodes = [n for g in _all_graphs(model.graph) for n in g.node if n.attribute]
    node = rng.choice(nodes)
    attribute = rng.choice(node.attribute)
    number = rng.choice((0, -1, 1, 2, 7, 1 << 31, ABSURD, -(1 << 63)))
    detail = f"{node.op_type}.{attribute.name}"
    if attribute.type == AttributeProto.INT:
        attribute.i = number
    elif attribute.type == AttributeProto.INTS and attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = number
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = rng.choice((0.0, -1.0, 1e38, float("nan"), float("inf")))
    elif attribute.type == AttributeProto.STRING:
        attribute.s = rng.choice((b"", b"x", b"\xff\xfe", b"a" * 100_000))
    else:
        node.attribute.remove(attribute)
    return Mutation("graph: attribute", detail, Allowed.ANOTHER, may_be_slow=True)


def _value_of_tensor(model: ModelProto, rng: random.Random, _outside: Path) -> Mutation:
    small = [
        t for g in _all_graphs(model.graph) for t in g.initializer
        if not t.external_data and t.data_type in (TensorProto.INT64, TensorProto.FLOAT)
    ]  # fmt: skip
    tensor = rng.choice(small)
    values = numpy_helper.to_array(tensor).copy()
    number = rng.choice((0, -1, 1, 2, 7, 1 << 20, 1 << 31, ABSURD, -(1 << 62)))
    if values.size:
        values.flat[rng.randrange(values.size)] = number
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    return Mutation("graph: constant", f"{name}: {number}", Allowed.ANOTHER, may_be_slow=True)


def _shape_of_tensor(model: ModelProto, rng: random.Random, _outside: Path) -> Mutation:
    tensor = _tensor(model, rng)
    choice = rng.randrange(4)
    if choice == 0:
        tensor.dims.append(rng.choice((0, 1, 2, ABSURD, -1)))
    elif choice == 1:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice((0, 1, 7, -1, 1 << 31, ABSURD))
    elif choice == 2:
        tensor.data_type = rng.choice((0, 1, 2, 3, 7, 8, 10, 11, 16, 99))
    else:
        tensor.raw_data = tensor.raw_data[: len(tensor.raw_data) // 2]
    return Mutation("graph: tensor of another shape or type", tensor.name, Allowed.ANOTHER, True)


def _external_path(model: ModelProto, rng: random.Random, outside: Path) -> Mutation:
    """Weights from outside the folder, or a place in the file that it does not have."""
    tensors = [t for g in _all_graphs(model.graph) for t in g.initializer if t.external_data]
    if not tensors:
        raise IndexError("no tensor keeps its values elsewhere")
    relative = f"../../{outside.parent.name}/{outside.name}"
    places = (
        *(str(outside), relative, "../" * 30 + str(outside).lstrip("/"), "/dev/zero"),
        *(f"weights.bin/../{relative}", f"./{relative}", "/etc/passwd", "../source.spm", "", "."),
        *("nobody.bin", "weights.bin\x00.txt", "\\\\server\\share\\x", "file:///etc/passwd"),
    )
    if rng.random() < 0.6:
        place = rng.choice(places)
        chosen = tensors if rng.random() < 0.5 else [rng.choice(tensors)]
        key = "location"
    else:
        key = rng.choice(("offset", "length"))
        place = rng.choice(("-1", "0", "1", str(ABSURD), str(1 << 63), "1e9", "x", "", "4096"))
        chosen = [rng.choice(tensors)]
    for tensor in chosen:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        entries[key] = place
        del tensor.external_data[:]
        tensor.external_data.extend(
            StringStringEntryProto(key=k, value=v) for k, v in entries.items()
        )
    detail = f"{key} {place!r} of {len(chosen)} tensors"
    if key == "location":
        # Some names lead to the right file after all; a read outside is seen by its access time.
        return Mutation("graph: weights elsewhere", detail, Allowed.THE_SAME)
    return Mutation("graph: weights at another place", detail, Allowed.ANOTHER)


def _endless_loop(model: ModelProto, rng: random.Random, _outside: Path) -> Mutation:
    """A Loop that never ends, before the first input is used or on constants alone."""
    condition = helper.make_tensor_value_info("loop_on", TensorProto.BOOL, [])
    count = helper.make_tensor_value_info("loop_count", TensorProto.INT64, [])
    carried = helper.make_tensor_value_info("loop_in", TensorProto.INT64, None)
    after = helper.make_tensor_value_info("loop_after", TensorProto.INT64, None)
    still = helper.make_tensor_value_info("loop_still", TensorProto.BOOL, [])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["loop_on"], ["loop_still"]),
            helper.make_node("Identity", ["loop_in"], ["loop_after"]),
        ],
        "endless", [count, condition, carried], [still, after],
    )  # fmt: skip
    graph = model.graph
    graph.initializer.append(helper.make_tensor("endless_true", TensorProto.BOOL, [], [True]))
    graph.initializer.append(helper.make_tensor("endless_zero", TensorProto.INT64, [], [0]))
    first = next(i for i in graph.input if i.type.tensor_type.elem_type == TensorProto.INT64).name \
        if rng.random() < 0.7 else ""  # fmt: skip
    loop = helper.make_node(
        "Loop", ["", "endless_true", first or "endless_zero"], ["endless_out"], body=body
    )
    output = graph.output[rng.randrange(len(graph.output))]
    _use_in_output(graph, output.name, "endless_out", [loop])
    return Mutation("graph: endless loop", first or "on constants", Allowed.ANOTHER, True)


def _absurd_tensor(model: ModelProto, rng: random.Random, _outside: Path) -> Mutation:
    """A tensor that a few bytes ask for: 2 GiB, 32 GiB, or 2**42 bytes."""
    size = rng.choice((1 << 28, 1 << 32, ABSURD >> 1))
    graph = model.graph
    graph.initializer.append(helper.make_tensor("absurd_shape", TensorProto.INT64, [1], [size]))
    nodes = [helper.make_node("ConstantOfShape", ["absurd_shape"], ["absurd_zeros"],
             value=helper.make_tensor("zero", TensorProto.INT64, [1], [0]))]  # fmt: skip
    reduced = helper.make_node("ReduceSum", ["absurd_zeros"], ["absurd_sum"], keepdims=0)
    output = rng.choice(graph.output)
    _use_in_output(graph, output.name, "absurd_sum", [*nodes, reduced])
    return Mutation("graph: absurd tensor", f"{size} numbers", Allowed.ANOTHER, may_be_slow=True)


def _use_in_output(graph: GraphProto, output: str, value: str, nodes: list[NodeProto]) -> None:
    """Add a value, as a number that is always 0 or close to it, to an output of the graph."""
    value_info = next(o for o in graph.output if o.name == output)
    elem_type = value_info.type.tensor_type.elem_type
    for node in graph.node:
        for index, name in enumerate(node.output):
            if name == output:
                node.output[index] = f"{output}_before"
    graph.initializer.append(helper.make_tensor("use_zero", TensorProto.INT64, [], [0]))
    graph.node.extend(
        [
            *nodes,
            helper.make_node("Cast", [value], ["use_cast"], to=TensorProto.INT64),
            helper.make_node("ReduceMin", ["use_cast"], ["use_min"], keepdims=0),
            helper.make_node("Mul", ["use_min", "use_zero"], ["use_product"]),
            helper.make_node("Cast", ["use_product"], ["use_term"], to=elem_type),
            helper.make_node("Add", [f"{output}_before", "use_term"], [output]),
        ]
    )


def _nested(model: ModelProto, rng: random.Random, _outside: Path) -> Mutation:
    """Graphs in graphs, so deep that a recursive reader may run out of stack."""
    depth = rng.choice((5, 15, 28))  # protobuf reads no more than 100 messages deep
    true = helper.make_tensor("deep_value", TensorProto.BOOL, [], [True])
    value = helper.make_tensor_value_info("deep_out", TensorProto.BOOL, [])
    constant = helper.make_node("Constant", [], ["deep_out"], value=true)
    inner = leaf = helper.make_graph([constant], "deep", [], [value])
    for level in range(depth):
        value = helper.make_tensor_value_info(f"deep_{level}", TensorProto.BOOL, [])
        condition = helper.make_node("Constant", [], [f"deep_if_{level}"], value=true)
        branch = helper.make_node(
            "If", [f"deep_if_{level}"], [f"deep_{level}"], then_branch=inner, else_branch=leaf
        )
        inner = helper.make_graph([condition, branch], "deep", [], [value])
    model.graph.node.extend(inner.node)
    return Mutation("graph: deeply nested", f"{depth} levels", Allowed.ANOTHER, may_be_slow=True)


def _recursive_function(model: ModelProto, rng: random.Random, _outside: Path) -> Mutation:
    """A function of the model that calls itself."""
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("field", 1)]
    call = helper.make_node("Again", ["a"], ["b"], domain="field")
    function = helper.make_function("field", "Again", ["a"], ["b"], [call], opsets)
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("field", 1))
    if rng.random() < 0.8:
        output = model.graph.output[0].name
        source = model.graph.input[0].name
        node = helper.make_node("Again", [source], ["again_out"], domain="field")
        _use_in_output(model.graph, output, "again_out", [node])
    return Mutation("graph: function calls itself", "", Allowed.ANOTHER, may_be_slow=True)


def _header(model: ModelProto, rng: random.Random, _outside: Path) -> Mutation:
    choice = rng.randrange(6)
    if choice == 0:
        model.ir_version = rng.choice((0, 1, 99, -1, 1 << 40))
    elif choice == 1:
        model.opset_import[0].version = rng.choice((0, 1, 7, 99, -1, 1 << 40))
    elif choice == 2:
        model.opset_import[0].domain = rng.choice(("nobody", "\x1b[31m"))
    elif choice == 3:
        del model.metadata_props[:]
    elif choice == 4:
        for entry in model.metadata_props:
            entry.value = rng.choice(("", "x", "-1", "9" * 400, "\x00"))
    else:
        del model.opset_import[:]
    names = ("ir_version", "opset", "domain", "no metadata", "metadata", "no opset")
    return Mutation("graph: header", names[choice], Allowed.ANOTHER)


def _graph_twice(model: ModelProto, rng: random.Random, _outside: Path) -> Mutation:
    """Names that stand twice."""
    if rng.random() < 0.5:
        model.graph.node.append(rng.choice(model.graph.node))
    else:
        tensor = model.graph.initializer.add()
        tensor.CopyFrom(_tensor(model, rng))
    return Mutation("graph: a name twice", "", Allowed.ANOTHER)


def _reversed(model: ModelProto, rng: random.Random, _outside: Path) -> Mutation:
    """Nodes that use what does not exist yet, or each other in a circle."""
    nodes = list(model.graph.node)
    if rng.random() < 0.5:
        nodes.reverse()
    else:
        rng.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return Mutation("graph: nodes out of order", "", Allowed.ANOTHER)


def _other_type(model: ModelProto, rng: random.Random, _outside: Path) -> Mutation:
    """An input or output that is no tensor."""
    side, _, value = _interface(model, rng)
    tensor = value.type.tensor_type.elem_type
    sequence = helper.make_sequence_type_proto(helper.make_tensor_type_proto(tensor, None))
    value.type.CopyFrom(rng.choice((sequence, TypeProto())))
    return Mutation(f"graph: {side} is no tensor", value.name, Allowed.THE_SAME)


CHANGES: tuple[Change, ...] = (
    *(_rename_interface, _retype_interface, _reshape_interface, _remove_interface, _add_input),
    *(_swap_interface, _drop_node, _rewire, _other_operator, _attribute, _value_of_tensor),
    *(_value_of_tensor, _shape_of_tensor, _external_path, _external_path, _endless_loop),
    *(_absurd_tensor, _nested, _recursive_function, _header, _graph_twice, _reversed, _other_type),
)
