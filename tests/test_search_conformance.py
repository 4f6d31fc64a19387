"""One meaning of search: every engine finds what the scalar loop finds, option by option.

The engines are numpy over plain Python, decoder.onnx step by step, translate.onnx in one call,
PyTorch without a cache, and CTranslate2, which shares no code with any of them.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from helpers.search_cases import CASES, GRID, SearchCase, for_ctranslate2, options_without_a_case
from helpers.search_engines import ENGINES, Engines

from tfm.runtime.options import DecodingOptions, declared_options
from tfm.runtime.route import choose_route
from tfm.runtime.search import ScoredIds
from tfm.trainer.data.batches import pad
from tfm.trainer.model import Transformer

SCORE = 1e-4  # float32 sums in another order
SENTENCES = 12


@pytest.fixture(
    scope="module", params=["tiny", "pre", pytest.param("ssru", marks=pytest.mark.slow)]
)
def engines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engines:
    model: Transformer = request.getfixturevalue(f"{request.param}_model")
    folder: Path = request.getfixturevalue(f"{request.param}_folder")
    return Engines(model, folder, tmp_path_factory.mktemp("ctranslate2") / "model")


def random_sources(model: Transformer, count: int, seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    size, eos_id = model.config.source_vocab_size, model.config.eos_id
    return [[*rng.integers(4, size, rng.integers(1, 14)).tolist(), eos_id] for _ in range(count)]


def assert_conform(
    results: list[list[ScoredIds]], expected: list[list[ScoredIds]], case: SearchCase
) -> tuple[int, int]:
    """Equal scores everywhere, and equal tokens but for ties; returns hypotheses and ties."""
    compared = ties = 0
    for hypotheses, others in zip(results, expected, strict=True):
        assert len(hypotheses) == len(others), case
        for ours, theirs in zip(hypotheses, others, strict=True):
            # Equal scores are asked for even where two hypotheses changed places.
            assert ours.score == pytest.approx(theirs.score, abs=SCORE), case
            compared += 1
            ties += ours.ids != theirs.ids
    return compared, ties


def is_greedy(case: SearchCase) -> bool:
    return choose_route(case.options, "cpu", (), has_greedy=True).graph == "greedy"


def test_greedy_onnx_has_cases_of_what_it_carries_out() -> None:
    options = {option for option, cases in CASES.items() if any(map(is_greedy, cases))}
    assert options >= {"beam_size", "max_length", "length_penalty", "target_prefix"}


def test_every_option_has_a_case() -> None:
    assert not options_without_a_case()


@pytest.mark.parametrize("option", CASES)
@pytest.mark.parametrize("engine", ENGINES)
def test_an_option_means_the_same_everywhere(engines: Engines, engine: str, option: str) -> None:
    if engine == "ctranslate2" and not engines.has_ctranslate2:
        return
    only_steps = {name for name, _, spec in declared_options() if not spec.graph}
    if engine == "translate.onnx" and option in only_steps:
        assert option not in engines.sessions.graph_options
        return
    sources = random_sources(engines.model, SENTENCES, seed=1)
    cases: Iterable[SearchCase | None] = CASES[option]
    if engine == "ctranslate2":
        cases = map(for_ctranslate2, cases)
    if engine == "greedy.onnx":
        cases = [case for case in CASES[option] if is_greedy(case)]
    for case in filter(None, cases):
        expected = engines.engine("scalar")(sources, case)
        compared, ties = assert_conform(engines.engine(engine)(sources, case), expected, case)
        assert ties <= max(1, compared / 50), case


@pytest.mark.parametrize("option", [name for name, _, _ in declared_options()])
def test_the_cases_of_an_option_show_what_it_does(engines: Engines, option: str) -> None:
    sources = random_sources(engines.model, SENTENCES, seed=1)
    scalar = engines.engine("scalar")
    default = next(
        field.default
        for field in DecodingOptions.__dataclass_fields__.values()
        if field.name == option
    )
    for case in CASES[option]:
        changes = {option: default} if not isinstance(default, str) else {}
        if option == "beam_size":
            changes["num_hypotheses"] = 1
        neutral = SearchCase(case.options.changed(**changes), () if not changes else case.prefix)
        if scalar(sources, case) != scalar(sources, neutral):
            return
    pytest.fail(f"no case of {option} differs from what the search does without it")


@pytest.mark.parametrize("engine", ["decoder.onnx", "translate.onnx", "ctranslate2"])
def test_sizes_penalties_and_lengths_together(engines: Engines, engine: str) -> None:
    sources = random_sources(engines.model, SENTENCES, seed=2)
    if engine == "ctranslate2" and not engines.has_ctranslate2:
        return
    compared = ties = early = longer = 0
    for case in GRID:
        expected = engines.engine("scalar")(sources, case)
        results = engines.engine(engine)(sources, case)
        counts = assert_conform(results, expected, case)
        compared, ties = compared + counts[0], ties + counts[1]
        for hypotheses in expected:
            assert len(hypotheses) == case.options.num_hypotheses
            early += sum(len(h.ids) < case.options.max_length for h in hypotheses)
            longer += sum(len(h.ids) > 2 for h in hypotheses)
    assert ties <= compared / 500
    # Neither only cut off nor only empty: all would agree for no good reason.
    assert early > compared / 4
    assert longer > compared / 4


@pytest.mark.parametrize("engine", ["decoder.onnx", "translate.onnx", "greedy.onnx"])
def test_greedy_is_pytorchs_token_for_token(engines: Engines, engine: str) -> None:
    model = engines.model
    sources = [ids for seed in range(4) for ids in random_sources(model, 25, seed)]
    expected = model.greedy(pad(sources, model.config.pad_id), 20)
    case = SearchCase(DecodingOptions(beam_size=1, max_length=20))
    results = engines.engine(engine)(sources, case)
    assert [list(hypotheses[0].ids) for hypotheses in results] == expected
    assert len({len(ids) for ids in expected}) > 5


@pytest.mark.parametrize("engine", ["decoder.onnx", "translate.onnx"])
def test_a_beam_wider_than_the_vocabulary(engines: Engines, engine: str) -> None:
    beam_size = engines.model.config.target_vocab_size + 10
    case = SearchCase(DecodingOptions(beam_size=beam_size, num_hypotheses=3, max_length=3))
    for hypotheses in engines.engine(engine)(random_sources(engines.model, 2, seed=3), case):
        assert len({hypothesis.ids for hypothesis in hypotheses}) == 3
