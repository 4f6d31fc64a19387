"""translate.onnx against the same search step by step: sequences, scores, compaction."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tfm.export.graphs import search as translate
from tfm.runtime import ModelError
from tfm.runtime import sessions as model
from tfm.runtime.config import FileEntry, ModelConfig
from tfm.runtime.search import Candidates, ScoredIds, SearchOptions, search
from tfm.runtime.sessions import DecodingState, Model

NO_EOS = -1  # no token has this id: what is searched for with it never ends early


@pytest.fixture(scope="module", params=["tiny/fp32", "tiny/int8", "pre/fp32"])
def loaded(request: pytest.FixtureRequest) -> Model:
    name, variant = request.param.split("/")
    return load(request.getfixturevalue(f"{name}_folder"), variant)


def load(folder: Path, variant: str) -> Model:
    config = ModelConfig.load(folder)
    return Model.open(folder, config, device="cpu", variant=variant, intra_threads=1)


def random_sources(loaded: Model, lengths: list[int], seed: int = 0) -> list[list[int]]:
    config = loaded._config
    rng = np.random.default_rng(seed)
    size = config.architecture.source_vocab_size
    return [[*rng.integers(4, size, n - 1).tolist(), config.special_ids.eos_id] for n in lengths]


class Recorder:
    """The runtime's decoder, and how large batch and cache were at every step.

    Attributes:
        alive: before every step, how many entries some beam descends from, of the sentence with
            the most
    """

    def __init__(self, state: DecodingState) -> None:
        self.state = state
        self.batches: list[int] = []
        self.entries: list[int] = []
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
        batch, _, entries, _ = next(iter(self.state.cache.values())).shape
        self.batches.append(batch)
        self.entries.append(entries)
        return found

    def keep(self, sentences: NDArray[np.int64]) -> None:
        self._histories = [self._histories[sentence] for sentence in sentences]
        self.state.keep(sentences)


def by_steps(
    loaded: Model, sources: list[list[int]], options: SearchOptions, eos_id: int | None = None
) -> tuple[list[list[ScoredIds]], Recorder]:
    ids = loaded._config.special_ids
    recorder = Recorder(loaded.encode(sources, options.beam_size))
    eos_id = ids.eos_id if eos_id is None else eos_id
    return search(recorder, len(sources), options, bos_id=ids.bos_id, eos_id=eos_id), recorder


def assert_same(
    found: list[list[ScoredIds]], expected: list[list[ScoredIds]], tolerance: float
) -> None:
    assert [[h.ids for h in one] for one in found] == [[h.ids for h in one] for one in expected]
    for one, other in zip(found, expected, strict=True):
        scores = [h.score for h in other]
        assert [h.score for h in one] == pytest.approx(scores, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("beam_size", [1, 2, 4, 5])
def test_one_call_finds_what_the_steps_find(
    loaded: Model, beam_size: int, length_penalty: float
) -> None:
    sources = random_sources(loaded, [2, 25, 9, 14, 3, 3, 40, 6])
    for num_hypotheses in {1, beam_size // 2 or 1, beam_size}:
        for max_length in (1, 2, 7, 8, 9, 17, 40):
            options = SearchOptions(
                beam_size=beam_size,
                num_hypotheses=num_hypotheses,
                length_penalty=length_penalty,
                max_length=max_length,
            )
            expected, _ = by_steps(loaded, sources, options)
            assert_same(loaded.translate(sources, options), expected, 1e-6)


def test_the_sentences_above_end_at_different_times(loaded: Model) -> None:
    sources = random_sources(loaded, [2, 25, 9, 14, 3, 3, 40, 6])
    options = SearchOptions(beam_size=4, max_length=40)
    found, recorder = by_steps(loaded, sources, options)
    assert len(set(recorder.batches)) >= 3
    assert len({len(hypotheses[0].ids) for hypotheses in found}) >= 3


@pytest.mark.parametrize("beam_size", [1, 4])
def test_neighbours_and_padding_change_nothing(loaded: Model, beam_size: int) -> None:
    sources = random_sources(loaded, [5, 17, 2, 9, 30, 5, 12], seed=1)
    options = SearchOptions(beam_size=beam_size, num_hypotheses=beam_size, max_length=40)
    tolerance = 0 if loaded.choice.variant == "int8" else 1e-5
    alone = [loaded.translate([source], options)[0] for source in sources]
    longer = random_sources(loaded, [77], seed=2)
    assert_same(loaded.translate(sources, options), alone, tolerance)
    assert_same(loaded.translate(sources[::-1], options)[::-1], alone, tolerance)
    assert_same(loaded.translate([*longer, *sources], options)[1:], alone, tolerance)
    assert_same(by_steps(loaded, [*sources, *longer], options)[0][:-1], alone, tolerance or 1e-6)


@pytest.mark.parametrize("eos_id", [None, NO_EOS])
def test_compaction_keeps_the_cache_small_and_the_result_as_it_is(
    loaded: Model, eos_id: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = random_sources(loaded, [5, 17, 2, 9], seed=3)
    options = SearchOptions(beam_size=5, num_hypotheses=5, max_length=96)
    found, compacted = by_steps(loaded, sources, options, eos_id)
    monkeypatch.setattr(model, "PHASE", 10**6)
    expected, whole = by_steps(loaded, sources, options, eos_id)

    assert_same(found, expected, 1e-5)
    steps = len(whole.entries)
    assert whole.entries == [5 * step for step in range(1, steps + 1)]
    assert len(compacted.entries) == steps
    for step in range(1, steps):
        if step % translate.PHASE:
            assert compacted.entries[step] == compacted.entries[step - 1] + 5
        else:
            blocks = -(-compacted.alive[step] // translate.ALIGNMENT)
            assert compacted.entries[step] == blocks * translate.ALIGNMENT + 5
    if eos_id == NO_EOS:
        assert steps == 96
        assert max(compacted.entries) < 0.75 * max(whole.entries)


def test_a_search_that_is_over_makes_no_more_steps(loaded: Model) -> None:
    lengths = [2, 25, 9, 14, 3, 3, 40, 6]
    sources = random_sources(loaded, lengths)
    options = SearchOptions(beam_size=2, max_length=256)
    outputs = run_raw(loaded, loaded._padded(sources), options)
    _, recorder = by_steps(loaded, sources, options)
    assert outputs["output_ids"].shape == (len(sources), 1, len(recorder.batches))
    early = sources[int(np.argmin(outputs["output_lengths"][:, 0]))]
    steps = run_raw(loaded, loaded._padded([early]), options)["output_ids"].shape[2]
    assert steps < 64


def run_raw(
    loaded: Model, source_ids: NDArray[np.int64], options: SearchOptions
) -> dict[str, NDArray[Any]]:
    session = loaded._session("translate")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, raw_inputs(source_ids, options)), strict=True))


def raw_inputs(source_ids: NDArray[np.int64], options: SearchOptions) -> dict[str, NDArray[Any]]:
    return {
        "source_ids": source_ids,
        "beam_size": np.array(options.beam_size),
        "num_hypotheses": np.array(options.num_hypotheses),
        "max_length": np.array(options.max_length),
        "length_penalty": np.array(options.length_penalty, np.float32),
    }


def test_what_lies_behind_a_hypothesis_is_padding(loaded: Model) -> None:
    sources = random_sources(loaded, [2, 25, 9, 14])
    options = SearchOptions(beam_size=3, num_hypotheses=3, max_length=30)
    outputs = run_raw(loaded, loaded._padded(sources), options)
    ids, lengths = outputs["output_ids"], outputs["output_lengths"]
    behind = np.arange(ids.shape[2]) >= lengths[:, :, None]
    special = loaded._config.special_ids
    eos_or_padding = ids[behind]
    assert set(eos_or_padding.tolist()) <= {special.eos_id, special.pad_id}
    assert special.eos_id not in ids[~behind]


ALONE = """
import sys
import numpy as np
import onnxruntime
path, inputs, outputs = sys.argv[1:]
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs()]
found = session.run(names, dict(np.load(inputs)))
np.savez(outputs, **dict(zip(names, found)))
assert not {"tfm", "torch"} & set(sys.modules), "only onnxruntime and numpy are allowed"
"""


def test_the_graph_needs_onnxruntime_and_numpy_alone(tiny_folder: Path, tmp_path: Path) -> None:
    steps = load(tiny_folder, "fp32")
    sources = random_sources(steps, [4, 19, 2, 11], seed=4)
    options = SearchOptions(beam_size=4, num_hypotheses=2, length_penalty=0.6, max_length=40)
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
    options = SearchOptions(beam_size=3, max_length=12)
    for path in (broken.translate, lambda *arguments: by_steps(broken, *arguments)):
        with pytest.raises(ModelError, match="no finite score: its weights may hold NaN"):
            path(sources, options)
