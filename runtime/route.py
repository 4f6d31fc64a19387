"""Which way a search runs: as one graph, and which, or step by step."""

from collections.abc import Collection
from dataclasses import dataclass

from .options import DecodingOptions, declared_options


@dataclass(frozen=True, slots=True)
class Route:
    """Whether one graph runs the whole search, and why.

    Attributes:
        graph: which: "translate", or "greedy"
    """

    by_graph: bool
    reason: str
    graph: str = "translate"


# What greedy.onnx carries out, or what means nothing to a search with one beam.
GREEDY_OPTIONS = frozenset(
    ("beam_size", "max_length", "length_penalty", "target_prefix", "patience")
)


def suits_greedy(options: DecodingOptions) -> bool:
    """Whether greedy.onnx can do what the options ask for."""
    return options.beam_size == 1 and GREEDY_OPTIONS.issuperset(options.set_options())


def choose_route(
    options: DecodingOptions,
    device: str,
    graph_options: Collection[str],
    *,
    has_greedy: bool = False,
) -> Route:
    """Choose the faster way that can do what the options ask for.

    Args:
        device: "cpu" or "cuda"
        graph_options: names of the options that the model's translate.onnx has inputs for;
            not read where greedy.onnx does it
        has_greedy: whether the model has greedy.onnx

    Returns:
        the graph on a CPU, where one call is fastest, unless an option is set that it does not
        support; the steps on CUDA, where the search's many small kernels would be slow
    """
    if device != "cpu":
        return Route(False, f"step by step: on {device} the search itself is faster in numpy")
    wanted = options.set_options()
    if has_greedy and suits_greedy(options):
        return Route(True, "greedy.onnx runs the whole search", "greedy")
    for name, _, spec in declared_options(type(options)):
        if name in wanted and not (spec.graph and name in graph_options):
            return Route(False, f"step by step: translate.onnx does not support {name}")
    return Route(True, "translate.onnx runs the whole search")
