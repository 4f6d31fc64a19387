"""Two models and their graphs in float32, for the tests of the graphs."""

import pytest

from tfm.export.graphs.trace import Graphs
from tfm.trainer.model import Transformer


@pytest.fixture(scope="module", params=["tiny", "pre"])
def converted(request: pytest.FixtureRequest) -> tuple[Transformer, Graphs]:
    name = request.param
    return request.getfixturevalue(f"{name}_model"), request.getfixturevalue(f"{name}_graphs")
