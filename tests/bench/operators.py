"""What our runtime does for a translation: operators, from onnxruntime's profile, and products.

The profile has an entry for each operator that ran, those in a loop's body once for each trip. Only
its counts and shapes are used: writing it makes a run of small operators several times slower.

The sizes of a product follow from the shapes. A weight that onnxruntime packed is no input any
more, but its rows are the activations' columns, and its columns the output's.
"""

import json
import math
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from .clock import process_seconds
from .products import BLOCK_PRODUCTS, FLOAT_PRODUCTS, PRODUCTS, Product, seconds_alone
from .systems import Ids, System, Tfm

SUBGRAPHS = frozenset({"Loop", "If", "Scan"})  # what they do is counted inside
TRIES = 3

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Work:
    """What translating a cell's sentences once takes.

    Attributes:
        tokens: that were written
        operators: that ran, by type; loops and branches themselves left out
        products: those with weights
        products_s: CPU seconds of these, timed alone on one thread
        first_step_share: share of the CPU time until the first token, most of it the encoder's
    """

    tokens: int
    operators: dict[str, int]
    products: tuple[Product, ...]
    products_s: float
    first_step_share: float

    @classmethod
    def of_json(cls, fields: Mapping[str, Any]) -> "Work":
        """The opposite of dataclasses.asdict."""
        return cls(**{**fields, "products": tuple(Product(**p) for p in fields["products"])})

    @property
    def weight_bytes(self) -> int:
        """That all products read together."""
        return sum(product.weight_bytes * product.count for product in self.products)


def work_of(system: System, sources: Ids, batch: int | None, beam: int, length: int) -> Work:
    """Translate the sentences with our runtime, count operators, and time products.

    Args:
        system: its engine is "tfm", its number of threads 1
    """
    engine = Tfm(system)
    prepared = engine.prepare(sources, batch, beam)
    shares = []
    for _ in range(TRIES + 1):
        start = process_seconds()
        engine.translate(prepared, beam, 1)
        middle = process_seconds()
        engine.translate(prepared, beam, length)
        shares.append((middle - start) / (process_seconds() - middle))
    with tempfile.TemporaryDirectory(prefix="tfm-profile-") as folder:
        with _profiling(Path(folder)) as sessions:
            engine = Tfm(system)
            results = engine.translate(prepared, beam, length)
        profiles = [read_profile(session) for session in sessions]
    operators, products = count(profiles, block_sizes(Path(system.folder, system.option)))
    return Work(
        tokens=sum(map(len, engine.outputs(results))),
        operators=operators,
        products=products,
        products_s=seconds_alone(products),
        first_step_share=statistics.median(shares[1:]),
    )


@contextmanager
def _profiling(folder: Path) -> Iterator[list[Any]]:
    """Sessions that are loaded within it write a profile; yields a list that gets them."""
    sessions: list[Any] = []
    plain = onnxruntime.InferenceSession

    def load(path: str, options: Any, **arguments: Any) -> Any:
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / str(len(sessions)))
        sessions.append(plain(path, options, **arguments))
        return sessions[-1]

    onnxruntime.InferenceSession = load
    try:
        yield sessions
    finally:
        onnxruntime.InferenceSession = plain


def read_profile(session: Any) -> list[Event]:
    """End the profile of a session; its events."""
    events: list[Event] = json.loads(Path(session.end_profiling()).read_bytes())
    return events


def count(
    profiles: Sequence[Sequence[Event]], blocks: Mapping[str, tuple[int, int]]
) -> tuple[dict[str, int], tuple[Product, ...]]:
    """The operators that ran by type, the most frequent first, and the products with weights.

    Args:
        profiles: of each session
        blocks: see `block_sizes`
    """
    operators: Counter[str] = Counter()
    products: Counter[Product] = Counter()
    for events in profiles:
        nodes = [e for e in events if e["cat"] == "Node" and e["name"].endswith("_kernel_time")]
        for event, in_loop in _marked(sorted(nodes, key=_start)):
            kind = event["args"]["op_name"]
            if kind in SUBGRAPHS:
                continue
            operators[kind] += 1
            if product := _product(event, in_loop, blocks):
                products[product] += 1
    counted = (replace(product, count=number) for product, number in products.items())
    return dict(operators.most_common()), tuple(counted)


def block_sizes(variant: Path) -> dict[str, tuple[int, int]]:
    """Bits and block size of each MatMulNBits of a variant's graphs, by the name of its node."""
    found: dict[str, tuple[int, int]] = {}

    def visit(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            attributes = {attribute.name: attribute for attribute in node.attribute}
            if node.op_type in BLOCK_PRODUCTS:
                bits = attributes["bits"].i if "bits" in attributes else 4
                found[node.name] = bits, attributes["block_size"].i
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    visit(attribute.g)

    for path in variant.glob("*.onnx"):
        visit(onnx.load(path, load_external_data=False).graph)
    return found


def _start(event: Event) -> float:
    return float(event["ts"])


def _marked(nodes: Sequence[Event]) -> Iterator[tuple[Event, bool]]:
    """Each event, with whether it is within a loop; all in the order of their beginnings."""
    loop_ends = -math.inf
    for node in nodes:
        yield node, node["ts"] < loop_ends
        if node["args"]["op_name"] == "Loop":
            loop_ends = max(loop_ends, node["ts"] + node["dur"])


def _product(event: Event, in_loop: bool, blocks: Mapping[str, tuple[int, int]]) -> Product | None:
    """The product with a weight that a node did; None if it did another thing."""
    operator = event["args"]["op_name"]
    if operator not in PRODUCTS:
        return None
    (_, activations), *others = [_type_and_shape(v) for v in event["args"]["input_type_shape"]]
    if operator in FLOAT_PRODUCTS and others and len(others[0][1]) > 2:
        return None  # of two activations, as in attention
    element, (*rows, columns) = _type_and_shape(event["args"]["output_type_shape"][0])
    node = event["name"].removesuffix("_kernel_time")
    bits, block = blocks.get(node, (8, 0))
    return Product(
        node=node,
        operator=operator,
        rows=math.prod(rows),
        inner=activations[-1],
        columns=columns,
        element="float16" if element == "float16" else "float",
        bits=bits,
        block=block,
        in_loop=in_loop,
    )


def _type_and_shape(value: Mapping[str, list[int]]) -> tuple[str, list[int]]:
    """Of an entry such as {"float": [1, 256]}."""
    ((element, shape),) = value.items()
    return element, shape
