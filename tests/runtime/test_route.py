"""Graph or steps, and why."""

from typing import Any

import pytest

from tfm.runtime.options import DecodingOptions, declared_options
from tfm.runtime.route import Route, choose_route

OFFERED = frozenset(name for name, _, spec in declared_options() if spec.graph)
GRAPH = Route(True, "translate.onnx runs the whole search")


@pytest.mark.parametrize(
    "changes",
    [{}, {"beam_size": 1}, {"min_length": 3, "repetition_penalty": 2.0}, {"target_prefix": "x"}],
)
def test_what_the_graph_can_do_it_does(changes: dict[str, Any]) -> None:
    assert choose_route(DecodingOptions(**changes), "cpu", OFFERED) == GRAPH


def test_what_it_cannot_do_goes_by_steps() -> None:
    route = choose_route(DecodingOptions(no_repeat_ngram_size=2), "cpu", OFFERED)
    assert route == Route(
        False, "step by step: translate.onnx does not support no_repeat_ngram_size"
    )


def test_a_graph_of_an_older_export_lacks_newer_options() -> None:
    older = OFFERED - {"patience"}
    assert choose_route(DecodingOptions(), "cpu", older) == GRAPH
    assert not choose_route(DecodingOptions(patience=2.0), "cpu", older).by_graph


def test_cuda_searches_by_steps() -> None:
    route = choose_route(DecodingOptions(), "cuda", ())
    assert not route.by_graph
    assert "cuda" in route.reason
