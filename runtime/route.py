"""Which way a search runs: as one graph, or step by step."""

from collections.abc import Collection
from dataclasses import dataclass

from .options import DecodingOptions, declared_options


@dataclass(frozen=True, slots=True)
class Route:
    """Whether translate.onnx runs the whole search, and why."""

    by_graph: bool
    reason: str


def choose_route(options: DecodingOptions, device: str, graph_options: Collection[str]) -> Route:
    """Choose the faster way that can do what the options ask for.

    Args:
        device: "cpu" or "cuda"
        graph_options: names of the options that the model's translate.onnx has inputs for

    Returns:
        the graph on a CPU, where one call is fastest, unless an option is set that it does not
        support; the steps on CUDA, where the search's many small kernels would be slow
    """
    if device != "cpu":
        return Route(False, f"step by step: on {device} the search itself is faster in numpy")
    wanted = options.set_options()
    for name, _, spec in declared_options(type(options)):
        if name in wanted and not (spec.graph and name in graph_options):
            return Route(False, f"step by step: translate.onnx does not support {name}")
    return Route(True, "translate.onnx runs the whole search")
