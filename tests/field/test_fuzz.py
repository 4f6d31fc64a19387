"""A few hundred trials of the fuzz run, and that its judgement is right."""

import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from field.fuzzing.campaign import (
    Plan,
    judge_mutant,
    judge_options,
    keeps_access_times,
    try_folders,
    try_options,
    try_texts,
)
from field.fuzzing.child import TRIALS
from field.fuzzing.folder_mutants import CONFIG, MODEL, OUTSIDE, FolderMutator
from field.fuzzing.mutation import Allowed, Mutation
from field.fuzzing.option_sets import is_valid
from field.fuzzing.pool import Pool, Trial
from field.fuzzing.texts import make_batch, make_text
from field.fuzzing.verdicts import FAULTS, Outcome, Tally, Verdict, judge_failure

from tfm.runtime.options import DecodingOptions

ONE = [[("one", (5,), -1.0)]]
OTHER = [[("two", (6,), -1.0)]]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    with Pool(2, 20, tmp_path_factory.mktemp("pool")) as pool:
        yield pool


def plan(folder: Path, work: Path, count: int, without: tuple[str, ...] = ()) -> Plan:
    return Plan([folder], 0, count, float("inf"), work, without)


def assert_no_faults(tally: Tally, at_least: int) -> None:
    assert tally.counts.total() >= at_least
    assert tally.faults == 0, tally.report()


def test_folder_mutants(pool: Pool, tiny_folder: Path, tmp_path: Path) -> None:
    tally = Tally()
    slow = ("graph: endless loop", "graph: absurd tensor", "file: 1 GiB")
    try_folders(plan(tiny_folder, tmp_path, 60, slow), pool, tally)
    assert_no_faults(tally, 50)
    assert min(tally.counts[Verdict.RIGHT], tally.counts[Verdict.REFUSED]) > 5


def test_texts(pool: Pool, tiny_folder: Path, tmp_path: Path) -> None:
    tally = Tally()
    try_texts(plan(tiny_folder, tmp_path, 250), pool, tally)
    assert_no_faults(tally, 250)
    assert tally.counts[Verdict.RIGHT] > 150


def test_option_sets(pool: Pool, tiny_folder: Path, tmp_path: Path) -> None:
    tally = Tally()
    try_options(plan(tiny_folder, tmp_path, 100), pool, tally)
    assert_no_faults(tally, 100)
    assert min(tally.counts[Verdict.RIGHT], tally.counts[Verdict.REFUSED]) > 20


@pytest.mark.slow
@pytest.mark.parametrize(("attempt", "count"), [(try_folders, 5000), (try_texts, 5000)])
def test_thousands(attempt: Any, count: int, tiny_folder: Path, tmp_path: Path) -> None:
    tally = Tally()
    with Pool(2, 10, tmp_path) as pool:
        attempt(plan(tiny_folder, tmp_path, count), pool, tally)
    assert_no_faults(tally, count)


def mutant(tmp_path: Path, folder: Path, seed: int) -> tuple[Path, Mutation]:
    case = tmp_path / f"case.{seed}"
    return case, FolderMutator(folder).write(case, random.Random(seed))


def test_a_seed_is_a_mutant(tiny_folder: Path, tmp_path: Path) -> None:
    kinds = set()
    for seed in range(40):
        case, mutation = mutant(tmp_path / "one", tiny_folder, seed)
        again, same = mutant(tmp_path / "two", tiny_folder, seed)
        kinds.add(mutation.kind.split(":")[0].split(",")[0])
        assert same == mutation or "outside" in mutation.detail or str(tmp_path) in mutation.detail
        names = sorted(p.relative_to(case) for p in case.rglob("*"))
        assert names == sorted(p.relative_to(again) for p in again.rglob("*"))
        # Whatever the mutant is, the original is as it was.
        assert "sha256" in (tiny_folder / CONFIG).read_text("utf-8")
    assert len(kinds) > 3


def test_mutants_leave_the_original_alone(tiny_folder: Path, tmp_path: Path) -> None:
    before = {p: p.read_bytes() for p in tiny_folder.rglob("*") if p.is_file()}
    for seed in range(60):
        mutant(tmp_path, tiny_folder, seed)
    assert {p: p.read_bytes() for p in tiny_folder.rglob("*") if p.is_file()} == before


def test_a_read_outside_is_seen(tmp_path: Path) -> None:
    if not keeps_access_times(tmp_path):
        pytest.skip("this file system keeps no access times")
    file = tmp_path / "secret"
    file.write_bytes(b"secret")
    os.utime(file, ns=(0, 0))
    link = tmp_path / "link"
    link.symlink_to(file)
    assert file.stat().st_atime_ns == 0
    assert link.read_bytes() == b"secret"
    assert file.stat().st_atime_ns > 0


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (Outcome("refused", message="config.json is not JSON: give another"), Verdict.REFUSED),
        (Outcome("refused", message="one line\nand another"), Verdict.UNCLEAR),
        (Outcome("refused", message="red \x1b[31m"), Verdict.UNCLEAR),
        (Outcome("refused", message="x" * 2000), Verdict.UNCLEAR),
        (Outcome("refused", message="good", noise="[E:onnxruntime:]"), Verdict.UNCLEAR),
        (Outcome("translated", complaints=("tfm info: ...",)), Verdict.UNCLEAR),
        (Outcome("traceback", message="KeyError: 'x'", place="KeyError"), Verdict.TRACEBACK),
        (Outcome("crash", message="SIGSEGV"), Verdict.CRASH),
        (Outcome("hang", phase="load"), Verdict.HANG),
        (Outcome("hang", phase="translate"), Verdict.HANG),
        (Outcome("refused", message="good", loading_bytes=2 << 30), Verdict.MEMORY),
    ],
)
def test_verdicts(outcome: Outcome, verdict: Verdict) -> None:
    judgement = judge_failure(outcome)
    assert judgement is not None
    assert judgement.verdict == verdict


@pytest.mark.parametrize(
    ("allowed", "same", "other"),
    [
        (Allowed.NOTHING, Verdict.WRONG, Verdict.WRONG),
        (Allowed.THE_SAME, Verdict.RIGHT, Verdict.WRONG),
        (Allowed.ANOTHER, Verdict.RIGHT, Verdict.OTHER_MODEL),
    ],
)
def test_what_a_mutation_allows(allowed: Allowed, same: Verdict, other: Verdict) -> None:
    mutation = Mutation("kind", "detail", allowed)
    assert judge_mutant(Outcome("translated", translations=ONE), mutation, ONE).verdict == same
    assert judge_mutant(Outcome("translated", translations=OTHER), mutation, ONE).verdict == other


def test_a_graph_that_never_ends_is_slow_only_once_it_runs() -> None:
    mutation = Mutation("kind", "detail", Allowed.ANOTHER, may_be_slow=True)
    assert judge_mutant(Outcome("hang", "translate"), mutation, ONE).verdict == Verdict.SLOW
    assert judge_mutant(Outcome("hang", "load"), mutation, ONE).verdict == Verdict.HANG


def test_option_sets_are_judged_by_both_ways() -> None:
    good, bad = Outcome("translated", translations=ONE), Outcome("refused", message="no")
    other = Outcome("translated", translations=OTHER)
    assert judge_options(good, good, {}, True).verdict == Verdict.RIGHT
    assert judge_options(good, good, {}, False).verdict == Verdict.WRONG
    assert judge_options(good, other, {}, True).verdict == Verdict.WRONG
    assert judge_options(good, bad, {}, True).verdict == Verdict.WRONG
    assert judge_options(bad, bad, {}, True).verdict == Verdict.WRONG
    assert judge_options(bad, bad, {"beam_size": 2**31 - 1}, True).verdict == Verdict.REFUSED
    assert judge_options(bad, bad, {"beam_size": -1}, False).verdict == Verdict.REFUSED


@pytest.mark.parametrize(
    ("options", "valid"),
    [
        ({"beam_size": 3}, True),
        ({"beam_size": True}, False),
        ({"beam_size": 3.0}, False),
        ({"beam_size": 2**31}, False),
        ({"length_penalty": float("nan")}, False),
        ({"beam_size": 2, "num_hypotheses": 3}, False),
        ({"num_hypotheses": 9}, True),
        ({"min_length": 9, "max_length": 8}, False),
        ({"suppress_ids": [1, 99]}, True),
        ({"suppress_ids": [1, 100]}, False),
        ({"target_prefix": "\ud800"}, False),
        ({"none": 1}, False),
    ],
)
def test_which_options_are_valid(options: dict[str, Any], valid: bool) -> None:
    assert is_valid(options, DecodingOptions(), 100) is valid


def test_texts_reach_every_plane() -> None:
    rng = random.Random(0)
    texts = [make_text(rng) for _ in range(600)]
    assert {ord(c) >> 16 for text in texts for c in text} == set(range(17))
    for text in texts:
        text.encode("utf-8")
    batches = [make_batch(random.Random(seed)) for seed in range(200)]
    assert any(not all_text for _, all_text in batches)


def test_a_child_that_dies_or_hangs_costs_its_own_trial_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_folder: Path
) -> None:
    """A named pipe in the place of a text is a hang that needs no fault of ours."""
    os.mkfifo(tmp_path / "pipe")
    assert "texts" in TRIALS
    good = {"folder": str(tiny_folder), "texts": ["一"]}
    with Pool(1, 0.7, tmp_path) as pool:
        killed = [False]

        def trials() -> Iterator[Trial]:
            yield Trial("texts", good, 0)
            pid = pool._children[0]._process.pid
            os.kill(pid, signal.SIGSTOP)  # hangs
            yield Trial("texts", good, 1)
            yield Trial("texts", good, 2)
            os.kill(pool._children[0]._process.pid, signal.SIGSEGV)
            killed[0] = True
            yield Trial("texts", good, 3)
            yield Trial("texts", good, 4)

        found = {trial.about: outcome for trial, outcome in pool.run(trials())}
    assert killed == [True]
    assert [found[n].status for n in range(5)] == [
        *("translated", "hang", "translated", "crash", "translated")
    ]
    assert "SIGSEGV" in found[3].message


def test_faults_are_kept_with_their_seed(tiny_folder: Path, tmp_path: Path) -> None:
    case, mutation = mutant(tmp_path, tiny_folder, 3)
    assert (case / OUTSIDE).exists()
    tally = Tally(tmp_path / "kept", per_group=1)
    fault = judge_mutant(Outcome("crash", message="SIGSEGV"), mutation, ONE)
    for seed in (3, 4):
        tally.add(fault, kind="folder", seed=seed, detail="x", subject=case / MODEL)
    (kept,) = (tmp_path / "kept").iterdir()
    facts = json.loads((kept / "fault.json").read_text("utf-8"))
    assert facts["again"] == "python tests/field/fuzz.py --only folder --seed 3 --mutants 1"
    assert (kept / "model" / CONFIG).exists()
    assert tally.faults == 2
    assert fault.verdict in FAULTS
    assert "crash (folder), 2 times" in tally.report()
