"""translate.onnx beside the search step by step: the same bits, compaction, and its contract."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers.search_cases import CASES, SearchCase
from helpers.search_engines import search_by_steps
from numpy.typing import NDArray

from tfm.export.graphs.cache_slots import COMPACTION_STEPS, SLOT_ALIGNMENT
from tfm.runtime import ModelError
from tfm.runtime.candidates import Candidates
from tfm.runtime.config import FileEntry, ModelConfig
from tfm.runtime.decoding_state import DecodingState
from tfm.runtime.options import DecodingOptions, declared_options
from tfm.runtime.search import ScoredIds
from tfm.runtime.sessions import Sessions

NO_EOS = -1  # no token has this id: what is searched for with it never ends early


@pytest.fixture(scope="module", params=["tiny/fp32", "tiny/int8", "pre/fp32"])
def sessions(request: pytest.FixtureRequest) -> Sessions:
    name, variant = request.param.split("/")
    return load(request.getfixturevalue(f"{name}_folder"), variant)


def load(folder: Path, variant: str) -> Sessions:
    config = ModelConfig.load(folder)
    return Sessions.open(folder, config, device="cpu", variant=variant, intra_threads=1)


def random_sources(sessions: Sessions, lengths: list[int], seed: int = 0) -> list[list[int]]:
    config = sessions._config
    rng = np.random.default_rng(seed)
    size = config.architecture.source_vocab_size
    return [[*rng.integers(4, size, n - 1).tolist(), config.special_ids.eos_id] for n in lengths]


class Recorder:
    """The runtime's decoder, and how large batch and cache were at every step.

    Attributes:
        alive: before every step, how many slots some beam descends from, of the sentence with
            the most
    """

    def __init__(self, state: DecodingState) -> None:
        self.state = state
        self.batches: list[int] = []
        self.slots: list[int] = []
        self.alive: list[int] = []
        self._histories: list[list[frozenset[tuple[int, int]]]] = []  # (step, beam) by beam

    def step(
        self,
        target_ids: NDArray[np.int64],
        beam_origin: NDArray[np.int64],
        scores: NDArray[np.float32],
    ) -> Candidates:
        step = len(self.batches)
        if not self._histories:
            self._histories = [[frozenset()] * beam_origin.shape[1] for _ in beam_origin]
        inherited = [
            [before[origin] for origin in origins]
            for before, origins in zip(self._histories, beam_origin.tolist(), strict=True)
        ]
        self.alive.append(max(len(frozenset.union(*beams)) for beams in inherited))
        self._histories = [
            [history | {(step, beam)} for beam, history in enumerate(beams)] for beams in inherited
        ]
        found = self.state.step(target_ids, beam_origin, scores)
        batch, _, slots, _ = next(iter(self.state.cache.values())).shape
        self.batches.append(batch)
        self.slots.append(slots)
        return found

    def keep(self, sentences: NDArray[np.int64]) -> None:
        self._histories = [self._histories[sentence] for sentence in sentences]
        self.state.keep(sentences)


def by_steps(
    sessions: Sessions,
    sources: list[list[int]],
    options: DecodingOptions,
    eos_id: int | None = None,
) -> tuple[list[list[ScoredIds]], Recorder]:
    ids = sessions._config.special_ids
    recorder = Recorder(sessions.encode(sources, options.beam_size))
    eos_id = ids.eos_id if eos_id is None else eos_id
    hypotheses = search_by_steps(ids.bos_id, eos_id, recorder, len(sources), options)
    return hypotheses, recorder


def assert_same(
    found: list[list[ScoredIds]], expected: list[list[ScoredIds]], tolerance: float
) -> None:
    assert [[h.ids for h in one] for one in found] == [[h.ids for h in one] for one in expected]
    for one, other in zip(found, expected, strict=True):
        scores = [h.score for h in other]
        assert [h.score for h in one] == pytest.approx(scores, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("beam_size", [1, 2, 4, 5])
def test_one_call_gives_the_bits_of_the_steps(
    sessions: Sessions, beam_size: int, length_penalty: float
) -> None:
    sources = random_sources(sessions, [2, 25, 9, 14, 3, 3, 40, 6])
    for num_hypotheses in {1, beam_size // 2 or 1, beam_size}:
        for max_length in (1, 2, 7, 8, 9, 17, 40):
            options = DecodingOptions(
                beam_size=beam_size,
                num_hypotheses=num_hypotheses,
                length_penalty=length_penalty,
                max_length=max_length,
            )
            expected, _ = by_steps(sessions, sources, options)
            assert_same(sessions.translate(sources, options), expected, 1e-6)


IN_THE_GRAPH = [case for name, _, spec in declared_options() if spec.graph for case in CASES[name]]


@pytest.mark.parametrize("case", IN_THE_GRAPH, ids=str)
def test_every_option_in_int8_too(sessions: Sessions, case: SearchCase) -> None:
    sources = random_sources(sessions, [2, 25, 9, 14, 3, 3, 40, 6])
    options = case.options.changed(max_length=max(20, case.options.max_length))
    state, ids = sessions.encode(sources, options.beam_size), sessions._config.special_ids
    expected = search_by_steps(ids.bos_id, ids.eos_id, state, len(sources), options, case.prefix)
    assert_same(sessions.translate(sources, options, case.prefix), expected, 1e-5)


def test_the_sentences_above_end_at_different_times(sessions: Sessions) -> None:
    sources = random_sources(sessions, [2, 25, 9, 14, 3, 3, 40, 6])
    options = DecodingOptions(beam_size=4, max_length=40)
    found, recorder = by_steps(sessions, sources, options)
    assert len(set(recorder.batches)) >= 3
    assert len({len(hypotheses[0].ids) for hypotheses in found}) >= 3


@pytest.mark.parametrize("beam_size", [1, 4])
def test_neighbours_and_padding_change_nothing(sessions: Sessions, beam_size: int) -> None:
    sources = random_sources(sessions, [5, 17, 2, 9, 30, 5, 12], seed=1)
    options = DecodingOptions(beam_size=beam_size, num_hypotheses=beam_size, max_length=40)
    tolerance = 0 if sessions.choice.variant == "int8" else 1e-5
    alone = [sessions.translate([source], options)[0] for source in sources]
    longer = random_sources(sessions, [77], seed=2)
    assert_same(sessions.translate(sources, options), alone, tolerance)
    assert_same(sessions.translate(sources[::-1], options)[::-1], alone, tolerance)
    assert_same(sessions.translate([*longer, *sources], options)[1:], alone, tolerance)
    assert_same(by_steps(sessions, [*sources, *longer], options)[0][:-1], alone, tolerance or 1e-6)


@pytest.mark.parametrize("eos_id", [None, NO_EOS])
def test_compaction_keeps_the_cache_small_and_the_result_as_it_is(
    sessions: Sessions, eos_id: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = random_sources(sessions, [5, 17, 2, 9], seed=3)
    options = DecodingOptions(beam_size=5, num_hypotheses=5, max_length=96)
    found, compacted = by_steps(sessions, sources, options, eos_id)
    monkeypatch.setattr("tfm.runtime.beam_order._compaction_of", lambda _: (10**6, SLOT_ALIGNMENT))
    expected, whole = by_steps(sessions, sources, options, eos_id)

    assert_same(found, expected, 1e-5)
    steps = len(whole.slots)
    assert whole.slots == [5 * step for step in range(1, steps + 1)]
    assert len(compacted.slots) == steps
    for step in range(1, steps):
        if step % COMPACTION_STEPS:
            assert compacted.slots[step] == compacted.slots[step - 1] + 5
        else:
            blocks = -(-compacted.alive[step] // SLOT_ALIGNMENT)
            assert compacted.slots[step] == blocks * SLOT_ALIGNMENT + 5
    if eos_id == NO_EOS:
        assert steps == 96
        assert max(compacted.slots) < 0.75 * max(whole.slots)


def test_a_search_that_is_over_makes_no_more_steps(sessions: Sessions) -> None:
    lengths = [2, 25, 9, 14, 3, 3, 40, 6]
    sources = random_sources(sessions, lengths)
    options = DecodingOptions(beam_size=2, max_length=256)
    outputs = run_raw(sessions, sessions._padded(sources), options)
    _, recorder = by_steps(sessions, sources, options)
    assert outputs["output_ids"].shape == (len(sources), 1, len(recorder.batches))
    early = sources[int(np.argmin(outputs["output_lengths"][:, 0]))]
    steps = run_raw(sessions, sessions._padded([early]), options)["output_ids"].shape[2]
    assert steps < 64


def run_raw(
    sessions: Sessions, source_ids: NDArray[np.int64], options: DecodingOptions
) -> dict[str, NDArray[Any]]:
    session = sessions._graph("translate")
    names = list(session.outputs)
    return dict(zip(names, session.run(names, raw_inputs(source_ids, options)), strict=True))


def raw_inputs(source_ids: NDArray[np.int64], options: DecodingOptions) -> dict[str, NDArray[Any]]:
    """What a program in another language may give: some of the optional inputs."""
    return {
        "source_ids": source_ids,
        "beam_size": np.array(options.beam_size),
        "num_hypotheses": np.array(options.num_hypotheses),
        "max_length": np.array(options.max_length),
        "length_penalty": np.array(options.length_penalty, np.float32),
    }


def test_the_contract_is_one_input_and_optional_ones(tiny_folder: Path) -> None:
    path = tiny_folder / "fp32" / "translate.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
        ("source_ids", "tensor(int64)", ["A", "S"])
    ]
    optional = {i.name: i.type for i in session.get_overridable_initializers()}
    types = {int: "tensor(int64)", float: "tensor(float)"}
    assert optional == {
        name: types.get(type_, "tensor(int64)")
        for name, type_, spec in declared_options()
        if spec.graph
    }
    assert [o.name for o in session.get_outputs()] == [
        "output_ids",
        "output_lengths",
        "output_scores",
    ]
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["options"].split(",") == [n for n, _, spec in declared_options() if spec.graph]
    assert metadata["compaction_steps"] == str(COMPACTION_STEPS)
    assert metadata["slot_alignment"] == str(SLOT_ALIGNMENT)
    onnx.checker.check_model(path, full_check=False)


def test_what_is_not_given_is_the_models_own(sessions: Sessions) -> None:
    source_ids = sessions._padded(random_sources(sessions, [5, 17, 2]))
    session = sessions._graph("translate")
    alone = session.run(None, {"source_ids": source_ids})
    own = run_raw(sessions, source_ids, sessions._config.decoding)
    for ours, theirs in zip(alone, own.values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_prefix_per_sentence(sessions: Sessions) -> None:
    sources = random_sources(sessions, [5, 17, 2])
    session = sessions._graph("translate")
    prefixes = np.array([[7, 8], [9, 10], [11, 12]])
    feeds = {"source_ids": sessions._padded(sources), "target_prefix": prefixes}
    ids, lengths, scores = session.run(None, feeds)
    for row, (source, prefix) in enumerate(zip(sources, prefixes.tolist(), strict=True)):
        ((alone,),) = sessions.translate([source], sessions._config.decoding, prefix)
        assert tuple(ids[row, 0, : lengths[row, 0]].tolist()) == alone.ids
        assert scores[row, 0] == pytest.approx(alone.score, abs=1e-5)


def test_what_lies_behind_a_hypothesis_is_padding(sessions: Sessions) -> None:
    sources = random_sources(sessions, [2, 25, 9, 14])
    options = DecodingOptions(beam_size=3, num_hypotheses=3, max_length=30)
    outputs = run_raw(sessions, sessions._padded(sources), options)
    ids, lengths = outputs["output_ids"], outputs["output_lengths"]
    behind = np.arange(ids.shape[2]) >= lengths[:, :, None]
    special = sessions._config.special_ids
    eos_or_padding = ids[behind]
    assert set(eos_or_padding.tolist()) <= {special.eos_id, special.pad_id}
    assert special.eos_id not in ids[~behind]


ALONE = """
import sys
import numpy as np
import onnxruntime
path, inputs, outputs = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.log_severity_level = 3  # or it warns that optional inputs are no constants
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs()]
found = session.run(names, dict(np.load(inputs)))
np.savez(outputs, **dict(zip(names, found)))
assert not {"tfm", "torch"} & set(sys.modules), "only onnxruntime and numpy are allowed"
"""


def test_the_graph_needs_onnxruntime_and_numpy_alone(tiny_folder: Path, tmp_path: Path) -> None:
    steps = load(tiny_folder, "fp32")
    sources = random_sources(steps, [4, 19, 2, 11], seed=4)
    options = DecodingOptions(beam_size=4, num_hypotheses=2, length_penalty=0.6, max_length=40)
    np.savez(tmp_path / "inputs.npz", **raw_inputs(steps._padded(sources), options))
    graph = tiny_folder / "fp32" / "translate.onnx"
    done = subprocess.run(
        [sys.executable, "-c", ALONE, graph, tmp_path / "inputs.npz", tmp_path / "outputs.npz"],
        capture_output=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    outputs = np.load(tmp_path / "outputs.npz")
    found = [
        [
            ScoredIds(tuple(ids[:length].tolist()), float(score))
            for ids, length, score in zip(*hypotheses, strict=True)
        ]
        for hypotheses in zip(
            *(outputs[f"output_{name}"] for name in ("ids", "lengths", "scores")), strict=True
        )
    ]
    assert_same(found, by_steps(steps, sources, options)[0], 1e-5)


def test_nan_in_the_weights_is_named(tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "nan"
    shutil.copytree(tiny_folder, folder)
    weights = folder / "fp32" / "weights.bin"
    np.full(weights.stat().st_size // 4, np.nan, np.float32).tofile(weights)
    config = ModelConfig.load(folder)
    files = dataclasses.replace(
        config.variants["fp32"], weights=FileEntry.of(folder, "fp32/weights.bin")
    )
    dataclasses.replace(config, variants={"fp32": files}).save(folder)
    broken = load(folder, "fp32")
    sources = random_sources(broken, [4, 9])
    options = DecodingOptions(beam_size=3, max_length=12)
    for path in (broken.translate, lambda *arguments: by_steps(broken, *arguments)):
        with pytest.raises(ModelError, match="no finite score: its weights may hold NaN"):
            path(sources, options)
