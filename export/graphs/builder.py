"""Write ONNX graphs as if they were Python: `b.Add(x, y)` appends a node and names its output."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

TensorTypes = dict[str, tuple[int, list[int | str]]]  # element type and shape, by name


def type_of(value: ValueInfoProto) -> tuple[int, list[int | str]]:
    """Element type and shape of an input or output; dimensions that vary are names."""
    tensor = value.type.tensor_type
    return tensor.elem_type, [d.dim_param or d.dim_value for d in tensor.shape.dim]


class GraphBuilder:
    """Builds one graph node by node; `loop` and `branch` build their bodies with inner builders.

    A tensor is passed around as its name. Names of nodes and tensors are unique over the graph and
    all bodies in it, as ONNX Runtime requires. Initializers belong to the outermost graph; every
    body can read them.

    onnxscript 0.7.2 has a builder too, but its node names begin anew in every body, it is internal
    to onnxscript, and it can neither insert a traced graph nor name the state of a loop.

    Example:
        >>> b = GraphBuilder()
        >>> total = b.Add("x", b.int64([1]))
        >>> values, indices = b.TopK("x", b.int64([3]), outputs=2, axis=1)
    """

    def __init__(self, parent: "GraphBuilder | None" = None) -> None:
        self.nodes: list[NodeProto] = []
        self._root: GraphBuilder = self if parent is None else parent._root
        if parent is None:
            self.initializers: dict[str, TensorProto] = {}
            self._count = 0

    def __getattr__(self, op_type: str) -> Callable[..., Any]:
        if not op_type[0].isupper():
            raise AttributeError(op_type)

        def append(*inputs: str, outputs: int = 1, **attributes: Any) -> Any:
            name = self.unique(op_type)
            names = [name] if outputs == 1 else [f"{name}.{i}" for i in range(outputs)]
            self.nodes.append(helper.make_node(op_type, inputs, names, name=name, **attributes))
            return names[0] if outputs == 1 else names

        return append

    def unique(self, stem: str) -> str:
        """A name that no other node or tensor has."""
        self._root._count += 1
        return f"{stem}_{self._root._count}"

    def constant(self, value: ArrayLike, dtype: type[np.generic]) -> str:
        """The initializer with this value; it is added at the first use."""
        array: NDArray[Any] = np.asarray(value, dtype)
        content = "x".join(map(str, array.ravel().tolist()))
        if array.size > 8:
            content = hashlib.sha256(array.tobytes()).hexdigest()[:16]
        name = f"{array.dtype.name}{list(array.shape)}={content}"
        if name not in self._root.initializers:
            self._root.initializers[name] = numpy_helper.from_array(array, name)
        return name

    def initializer(self, name: str, value: NDArray[Any] | np.generic) -> str:
        """The initializer of this name; it is added at the first use."""
        if name not in self._root.initializers:
            self._root.initializers[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def int64(self, value: ArrayLike) -> str:
        """An int64 initializer."""
        return self.constant(value, np.int64)

    def float32(self, value: ArrayLike) -> str:
        """A float32 initializer."""
        return self.constant(value, np.float32)

    def size(self, tensor: str, axis: int) -> str:
        """One dimension of a tensor, [1]."""
        name: str = self.Shape(tensor, start=axis, end=axis + 1)
        return name

    def insert(
        self, graph: GraphProto, prefix: str, inputs: Mapping[str, str], outputs: Sequence[str]
    ) -> list[str]:
        """Append a copy of another graph's nodes and initializers.

        Args:
            prefix: goes before the names of its nodes, tensors and initializers
            inputs: by name of the other graph's input, the tensor to feed to it
            outputs: names of the other graph's outputs to return

        Returns:
            the tensors that hold those outputs
        """
        names = dict(inputs)
        for tensor in graph.initializer:
            names[tensor.name] = f"{prefix}{tensor.name}"
            if names[tensor.name] not in self._root.initializers:
                copy = self._root.initializers[names[tensor.name]] = TensorProto()
                copy.CopyFrom(tensor)
                copy.name = names[tensor.name]
        for node in graph.node:
            copied = NodeProto()
            copied.CopyFrom(node)
            copied.name = f"{prefix}{node.name or self.unique(node.op_type)}"
            for field in (copied.input, copied.output):
                for i, name in enumerate(field):
                    field[i] = names.setdefault(name, f"{prefix}{name}") if name else ""
            self.nodes.append(copied)
        return [names[name] for name in outputs]

    def loop(
        self,
        trips: str,
        condition: str,
        state: Mapping[str, str],
        body: Callable[["GraphBuilder", dict[str, str], str], tuple[str, dict[str, str]]],
        types: TensorTypes,
        scans: Sequence[str] = (),
    ) -> dict[str, str]:
        """Append an ONNX Loop.

        Args:
            trips: the most iterations, [1] int64; "" for no limit
            condition: whether to run the first iteration, [1] bool
            state: the initial tensors, by name
            body: called once with the body's builder, the tensors that hold the state in the body,
                by name, and the number of earlier iterations ([] int64); returns whether to go on,
                [1] bool, and the new state with the same names
            types: element type and shape of every state; named dimensions may change from one
                iteration to the next
            scans: names that the body returns beside the state: every iteration's tensor is kept;
                `types` has them too

        Returns:
            the final state by the same names, and the scans, whose first dimension is iterations
        """
        name = self.unique("loop")
        inner = GraphBuilder(self)
        arguments = {key: f"{name}.{key}" for key in state}
        go_on, updated = body(inner, arguments, f"{name}.iteration")
        # A body may not give out its own input as it is.
        keys = [*state, *scans]
        results = [inner.Identity(updated[key]) if updated[key] in arguments.values() else
                   updated[key] for key in keys]  # fmt: skip

        def declared(key: str, tensor: str) -> ValueInfoProto:
            return helper.make_tensor_value_info(tensor, *types[key])

        graph = helper.make_graph(
            inner.nodes,
            f"{name}.body",
            [
                helper.make_tensor_value_info(f"{name}.iteration", TensorProto.INT64, []),
                helper.make_tensor_value_info(f"{name}.condition", TensorProto.BOOL, [1]),
                *(declared(key, tensor) for key, tensor in arguments.items()),
            ],
            [
                helper.make_tensor_value_info(go_on, TensorProto.BOOL, [1]),
                *(declared(key, tensor) for key, tensor in zip(keys, results, strict=True)),
            ],
        )
        finals = {key: f"{name}.{key}.final" for key in keys}
        self.nodes.append(
            helper.make_node(
                "Loop",
                [trips, condition, *state.values()],
                list(finals.values()),
                name=name,
                body=graph,
            )
        )
        return finals

    def branch(
        self,
        condition: str,
        then: Callable[["GraphBuilder"], dict[str, str]],
        otherwise: Callable[["GraphBuilder"], dict[str, str]],
        types: TensorTypes,
    ) -> dict[str, str]:
        """Append an ONNX If.

        Args:
            condition: [1] bool
            then: called with the branch's builder, returns its results by name; tensors from
                outside the branch may be among them
            otherwise: the same for the other branch; its results have the same names
            types: element type and shape of every result

        Returns:
            the results of the branch that runs, by the same names
        """
        name = self.unique("if")
        bodies = {"then_branch": GraphBuilder(self), "else_branch": GraphBuilder(self)}
        results_by_branch = [
            build(inner) for build, inner in zip((then, otherwise), bodies.values(), strict=True)
        ]
        keys, other_keys = map(list, results_by_branch)
        if keys != other_keys:
            raise ValueError(f"the branches give {keys} and {other_keys}")
        graphs = {}
        for (branch, inner), tensors in zip(bodies.items(), results_by_branch, strict=True):
            # Outputs of a branch must be its own, and different: an Identity makes a new tensor.
            available = {output for node in inner.nodes for output in node.output}
            outputs: list[ValueInfoProto] = []
            for key, tensor in tensors.items():
                output = tensor if tensor in available else inner.Identity(tensor)
                available.discard(tensor)
                outputs.append(helper.make_tensor_value_info(output, *types[key]))
            graphs[branch] = helper.make_graph(inner.nodes, f"{name}.{branch}", [], outputs)
        results = {key: f"{name}.{key}" for key in keys}
        self.nodes.append(
            helper.make_node("If", [condition], list(results.values()), name=name, **graphs)
        )
        return results

    def model(
        self,
        name: str,
        inputs: Sequence[ValueInfoProto],
        outputs: Mapping[str, tuple[str, int, Sequence[int | str]]],
        opset_imports: Sequence[onnx.OperatorSetIdProto],
        ir_version: int,
    ) -> onnx.ModelProto:
        """The finished model.

        Args:
            outputs: by name of the output, its tensor, element type and shape
        """
        for output, (tensor, _, _) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [tensor], [output], name=output))
        graph = helper.make_graph(
            self.nodes,
            name,
            inputs,
            [
                helper.make_tensor_value_info(output, element_type, shape)
                for output, (_, element_type, shape) in outputs.items()
            ],
            list(self.initializers.values()),
        )
        return helper.make_model(
            graph, opset_imports=list(opset_imports), ir_version=ir_version, producer_name="tfm"
        )
