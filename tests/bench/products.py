"""Matrix products with weights: how many bytes they read, and how long they take alone.

Shapes: M rows of activations, K x N the weight.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .clock import cpu_seconds

INTEGER_PRODUCTS = frozenset(
    {"MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm"}
)
BLOCK_PRODUCTS = frozenset({"MatMulNBits"})  # each block of K has a scale of its own
FLOAT_PRODUCTS = frozenset({"MatMul", "Gemm", "FusedMatMul", "FusedGemm"})
PRODUCTS = INTEGER_PRODUCTS | BLOCK_PRODUCTS | FLOAT_PRODUCTS
FLOAT_BYTES = {"float": 4, "float16": 2}


@dataclass(frozen=True, slots=True)
class Product:
    """A product with a weight, as a node of a graph did it.

    Attributes:
        node: products by different nodes have different weights
        operator: its type
        rows, inner, columns: M, K and N
        element: of a float weight: "float" or "float16"
        bits, block: of MatMulNBits: of a weight, and how many of K have one scale
        in_loop: it runs in the loop over the tokens of a translation
        count: how often it ran
    """

    node: str
    operator: str
    rows: int
    inner: int
    columns: int
    element: str = "float"
    bits: int = 8
    block: int = 0
    in_loop: bool = False
    count: int = 0

    @property
    def is_integer(self) -> bool:
        """It multiplies integers."""
        return self.operator not in FLOAT_PRODUCTS

    @property
    def weight_bytes(self) -> int:
        """The weight with its scales."""
        if not self.is_integer:
            return self.inner * self.columns * FLOAT_BYTES[self.element]
        scales = math.ceil(self.inner / self.block) if self.block else 1
        return self.inner * self.columns * self.bits // 8 + 4 * scales * self.columns

    @property
    def multiply_adds(self) -> int:
        """Of one run of it."""
        return self.rows * self.inner * self.columns


def seconds_alone(products: Iterable[Product]) -> float:
    """CPU seconds of all these products on one thread, timed as graphs that have nothing else.

    The products that follow each other in a step are in one graph, so that each of them finds its
    weight in the same cache as in the step.
    """
    groups: dict[tuple[bool, int, int], list[Product]] = defaultdict(list)
    for product in products:
        groups[product.in_loop, product.rows, product.count].append(product)
    sessions: dict[tuple[str, ...], Any] = {}
    total = 0.0
    for (_, rows, count), group in groups.items():
        nodes = tuple(product.node for product in group)
        if nodes not in sessions:
            sessions[nodes] = one_thread_session(graph_of(group))
        binding = _binding(sessions[nodes], rows)
        session = sessions[nodes]
        total += count * cpu_seconds(partial(session.run_with_iobinding, binding))
    return total


def graph_of(products: Sequence[Product]) -> onnx.ModelProto:
    """A graph of these products, each with an input [R, K] and an output [R, N] of its own."""
    nodes, inputs, outputs, weights = [], [], [], []
    for number, product in enumerate(products):
        node, element, tensors = _node(product, number)
        nodes.append(node)
        shape: list[str | int | None] = ["R", product.inner]
        inputs.append(helper.make_tensor_value_info(f"x{number}", element, shape))
        outputs.append(helper.make_empty_tensor_value_info(f"y{number}"))
        weights += [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    return helper.make_model(
        helper.make_graph(nodes, "products", inputs, outputs, weights),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)],
        ir_version=10,
    )


def one_thread_session(model: onnx.ModelProto) -> Any:
    """An onnxruntime session on the CPU with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _node(product: Product, number: int) -> tuple[onnx.NodeProto, int, dict[str, NDArray[Any]]]:
    """The node, the element type of its activations, and its constants by name."""
    x, y = f"x{number}", f"y{number}"
    inner, columns = product.inner, product.columns
    if product.operator in BLOCK_PRODUCTS:
        blocks = math.ceil(inner / product.block)
        constants: dict[str, NDArray[Any]] = {
            f"w{number}": np.ones((columns, blocks, product.block * product.bits // 8), np.uint8),
            f"s{number}": np.ones(columns * blocks, np.float32),
        }
        node = helper.make_node(
            "MatMulNBits", [x, *constants], [y], domain="com.microsoft",
            K=inner, N=columns, bits=product.bits, block_size=product.block, accuracy_level=4,
        )  # fmt: skip
        return node, onnx.TensorProto.FLOAT, constants
    if product.is_integer:
        constants = {
            f"w{number}": np.ones((inner, columns), np.int8),
            f"a{number}": np.array(0.1, np.float32),
            f"s{number}": np.ones(columns, np.float32),
            f"z{number}": np.array(128, np.uint8),
        }
        node = helper.make_node(
            "MatMulIntegerToFloat", [x, *constants], [y], domain="com.microsoft"
        )
        return node, onnx.TensorProto.UINT8, constants
    half = product.element == "float16"
    weight = np.ones((inner, columns), np.float16 if half else np.float32)
    element = onnx.TensorProto.FLOAT16 if half else onnx.TensorProto.FLOAT
    return helper.make_node("MatMul", [x, f"w{number}"], [y]), element, {f"w{number}": weight}


def _binding(session: Any, rows: int) -> Any:
    """Inputs of ones with this many rows, and outputs."""
    types = {
        "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8
    }  # fmt: skip
    binding = session.io_binding()
    for value in session.get_inputs():
        ones = np.ones((rows, value.shape[1]), types[value.type])
        binding.bind_cpu_input(value.name, ones)
    for value in session.get_outputs():
        binding.bind_output(value.name, "cpu")
    return binding
