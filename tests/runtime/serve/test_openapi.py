"""The OpenAPI document, and what requests made from it find: no 500, no answer that it does not
describe, nothing wrong let through, nothing right refused."""

import warnings
from typing import Any

import pytest
from helpers.needs import needs_module
from helpers.service import RunningService

schemathesis = needs_module("schemathesis")


def paths(service: RunningService) -> list[str]:
    status, document, _ = service.ask("/openapi.json")
    assert status == 200
    return [
        f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item
    ]


ADDRESSES = [
    *("POST /translate", "POST /detect", "GET /languages", "GET /frontend/settings"),
    *("POST /v2/translate", "GET /v2/languages", "GET /v2/usage"),
    *("POST /deeplx", "POST /imme", "POST /translate/batch"),
    *("POST /tfm/translate", "GET /tfm/info", "GET /health", "GET /metrics"),
]


def test_every_address_is_described(service: RunningService) -> None:
    # No generator makes documents: test_files.py uploads them.
    assert sorted(paths(service)) == sorted([*ADDRESSES, "POST /translate_file"])
    assert service.ask("/spec")[1] == service.ask("/openapi.json")[1]


def check(service: RunningService, address: str, examples: int) -> None:
    """Ask an address for as many generated requests, right and wrong ones."""
    import hypothesis

    method, path = address.split()
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    operation = schema[path][method]
    modes = list(schemathesis.GenerationMode)

    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=hypothesis.strategies.one_of([_strategy(operation, m) for m in modes]))
    def ask(case: Any) -> None:
        case.call_and_validate(timeout=60)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ask()


def _strategy(operation: Any, mode: Any) -> Any:
    return operation.as_strategy(generation_mode=mode)


@pytest.mark.parametrize("address", ADDRESSES)
def test_generated_requests(service: RunningService, address: str) -> None:
    check(service, address, 12)


@pytest.mark.slow
@pytest.mark.parametrize("address", ADDRESSES)
def test_many_generated_requests(service: RunningService, address: str) -> None:
    check(service, address, 500)
