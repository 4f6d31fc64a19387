"""What `tfm bench` counts: operators, bytes of weights, the floor, CPU time."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from tfm_bench import clock, operators, products, worker
from tfm_bench.floor import floor_seconds, working_set
from tfm_bench.operators import Work, work_of
from tfm_bench.products import Product
from tfm_bench.speeds import Speeds
from tfm_bench.systems import System

from tfm.trainer.model import Transformer

SOURCES = [[5, 6, 7, 3], [8, 9, 3]]


@pytest.fixture(autouse=True)
def quick_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "TRIES", 1)
    monkeypatch.setattr(clock, "LEAST_S", 0.0)


def work(folder: Path, variant: str, beam: int = 1, length: int = 7) -> Work:
    system = System(f"tfm {variant}", "tfm", str(folder), variant, 1)
    return work_of(system, SOURCES, 2, beam, length)


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_the_bytes_of_weights(tiny_folder: Path, tiny_model: Transformer, variant: str) -> None:
    found = work(tiny_folder, variant)
    config = tiny_model.config
    d, wide, vocabulary = config.d_model, config.d_ff, config.target_vocab_size
    # QKV, out, and the two of the network; at the end the cross keys and values of all layers
    layer = [(d, 3 * d), (d, d), (d, wide), (wide, d)]
    encoder = layer * config.encoder_layers + [(d, 2 * d * config.decoder_layers)]
    decoder = [*layer, (d, d), (d, d)] * config.decoder_layers + [(d, vocabulary)]

    def read(weights: list[tuple[int, int]]) -> int:
        if variant == "fp32":
            return sum(4 * inner * columns for inner, columns in weights)
        return sum((inner + 4) * columns for inner, columns in weights)  # and a scale each

    inside = [product for product in found.products if product.in_loop]
    outside = [product for product in found.products if not product.in_loop]
    assert working_set(found.products) == read(decoder)
    assert sum(p.weight_bytes * p.count for p in outside) == read(encoder)
    steps = sum(product.count for product in inside if product.columns == vocabulary)
    assert found.tokens / len(SOURCES) <= steps <= 7
    assert found.weight_bytes == read(encoder) + read(decoder) * steps


def test_tokens_and_shares(tiny_folder: Path) -> None:
    short, long = (work(tiny_folder, "int8", length=length) for length in (1, 7))
    assert short.tokens <= 2
    assert long.tokens > short.tokens
    assert sum(long.operators.values()) > sum(short.operators.values())
    assert long.operators["MatMulIntegerToFloat"] == sum(p.count for p in long.products)
    assert long.products_s > 0
    assert long.first_step_share > 0


def test_a_loop_is_counted_once_for_each_trip(tmp_path: Path) -> None:
    """A graph of our own: outside 1 Neg, in a loop of 5 trips 1 product and 1 Neg each."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "weight"], ["product"], name="in_the_loop"),
            helper.make_node("Neg", ["product"], ["next"]),
            helper.make_node("Identity", ["go_on"], ["still"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [2, 3]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [2, 3]),
        ],
        [numpy_helper.from_array(np.eye(3, dtype=np.float32), "weight")],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Neg", ["x"], ["start"]),
            helper.make_node("Loop", ["trips", "", "start"], ["end"], body=body),
            helper.make_node("MatMul", ["end", "wide"], ["y"], name="after_the_loop"),
        ],
        "example",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4])],
        [
            numpy_helper.from_array(np.array(5, np.int64), "trips"),
            numpy_helper.from_array(np.ones((3, 4), np.float32), "wide"),
        ],
    )
    path = tmp_path / "example.onnx"
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    with operators._profiling(tmp_path) as sessions:
        options = onnxruntime.SessionOptions()
        session = onnxruntime.InferenceSession(str(path), options)
        session.run(None, {"x": np.ones((2, 3), np.float32)})
    profile = operators.read_profile(sessions[0])
    counts, found = operators.count([profile], {})
    assert counts.pop("Neg") == 6
    assert counts.pop("MatMul") == 6
    assert "Loop" not in counts
    assert {(p.node, p.rows, p.inner, p.columns, p.in_loop, p.count) for p in found} == {
        ("in_the_loop", 2, 3, 3, True, 5),
        ("after_the_loop", 2, 3, 4, False, 1),
    }


def test_a_product_of_activations_has_no_weight() -> None:
    def event(second: list[int]) -> dict[str, Any]:
        arguments = {
            "op_name": "MatMul",
            "input_type_shape": [{"float": [2, 4, 5, 6]}, {"float": second}],
            "output_type_shape": [{"float": [2, 4, 5, 7]}],
        }
        name = "attention_kernel_time"
        return {"cat": "Node", "name": name, "ts": 1, "dur": 1, "args": arguments}

    assert operators.count([[event([2, 4, 6, 7])]], {})[1] == ()
    (product,) = operators.count([[event([6, 7])]], {})[1]
    assert (product.rows, product.inner, product.columns) == (40, 6, 7)


@pytest.mark.parametrize(
    ("product", "expected"),
    [
        (Product("n", "MatMul", 1, 64, 10), 64 * 10 * 4),
        (Product("n", "MatMul", 1, 64, 10, element="float16"), 64 * 10 * 2),
        (Product("n", "MatMulIntegerToFloat", 1, 64, 10), 64 * 10 + 10 * 4),
        (Product("n", "MatMulNBits", 1, 64, 10, bits=4, block=32), 64 * 10 // 2 + 2 * 10 * 4),
        (Product("n", "MatMulNBits", 1, 64, 10, bits=8, block=32), 64 * 10 + 2 * 10 * 4),
    ],
)
def test_products_alone(product: Product, expected: int) -> None:
    assert product.weight_bytes == expected
    model = products.graph_of([product, product])
    assert len(model.graph.node) == 2
    # The weight is in the graph with as many bytes; zero points are not counted.
    weights = [t for t in model.graph.initializer if t.name[0] in "ws"]
    assert sum(len(tensor.raw_data) for tensor in weights) == 2 * expected
    if product.element != "float16":
        assert products.seconds_alone([Product(**{**fields(product), "count": 3})]) > 0


def fields(product: Product) -> dict[str, Any]:
    return {name: getattr(product, name) for name in Product.__dataclass_fields__}


def test_blocks_are_found_in_every_graph(tmp_path: Path) -> None:
    def node(name: str, bits: int) -> onnx.NodeProto:
        return helper.make_node(
            "MatMulNBits", ["x", "w", "s"], [name], name=name, bits=bits, block_size=2 * bits
        )

    branch = helper.make_graph([node("inner", 8)], "branch", [], [])
    choice = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph([node("outer", 4), choice], "example", [], [])
    onnx.save(helper.make_model(graph), tmp_path / "decoder.onnx")
    assert operators.block_sizes(tmp_path) == {"outer": (4, 8), "inner": (8, 16)}


def test_the_floor_is_the_longer_of_reading_and_multiplying() -> None:
    speeds = Speeds(bytes_per_s=1e6, working_set=0, integer=1e8, real=1e7)
    one = Product("n", "MatMul", 1, 50, 20, count=3)  # 4,000 bytes, 1,000 multiply-adds
    many = Product("m", "MatMul", 500, 50, 20, count=2, in_loop=True)
    assert floor_seconds([one], speeds) == pytest.approx(3 * 4000 / 1e6)
    assert floor_seconds([many], speeds) == pytest.approx(2 * 500 * 1000 / 1e7)
    whole = Product("i", "MatMulInteger", 500, 50, 20, count=1, in_loop=True)  # 1,080 bytes
    assert floor_seconds([whole], speeds) == pytest.approx(500 * 1000 / 1e8)
    assert floor_seconds([one, many], speeds) == pytest.approx(0.112)
    assert working_set([one, many, whole]) == 4000 + 1080  # a step's
    assert working_set([one]) == 4000


class Burner:
    """An engine that computes for 0.1 s in a thread and for 0.1 s in a process of its own."""

    def prepare(self, sources: Any, batch: Any, beam: int) -> Any:
        return None

    def translate(self, prepared: Any, beam: int, length: int) -> Any:
        def burn() -> None:
            while time.thread_time() < 0.1:
                pass

        thread = threading.Thread(target=burn)
        thread.start()
        code = "import time\nwhile time.process_time() < 0.1: pass"
        subprocess.run([sys.executable, "-S", "-c", code], check=True)
        thread.join()
        return [[1]]

    def outputs(self, results: Any) -> Any:
        return results


def test_cpu_time_is_of_all_threads_and_children() -> None:
    request = {"sources": [], "batch": 1, "beam": 1, "length": 1, "repeats": 2, "ids": False}
    answer = worker._translate(Burner(), request)
    assert 0.19 < answer["cpu_seconds"] < 2
    assert answer["tokens"] == 1
