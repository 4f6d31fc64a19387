"""The three campaigns: mutants of a folder, texts, sets of options. Each trial has its seed."""

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfm.runtime.config import ModelConfig

from .child import MAX_LENGTH
from .folder_mutants import MODEL, OUTSIDE, FolderMutator
from .mutation import Allowed, Mutation
from .option_sets import is_demanding, is_valid, make_options
from .pool import Pool, Trial
from .texts import make_batch
from .verdicts import Judgement, Outcome, Tally, Verdict, judge_failure, same_translations

SENTENCES = ("三千零五十二", "零", "我爱你。", "一百二十")
TEXTS_PER_TRIAL = 8  # on average, of make_batch


@dataclass(frozen=True)
class Plan:
    """How much is tried, where, and how.

    Attributes:
        folders: model folders to work with, used in turn
        seed: of the first trial; the next has the next number
        count: how many mutants, texts or sets
        until: when time.monotonic() is past it, no more are begun
        work: an empty folder on a file system that keeps access times
        without: mutations whose kind begins with one of these are left out
    """

    folders: Sequence[Path]
    seed: int
    count: int
    until: float
    work: Path
    without: tuple[str, ...] = ()

    def seeds(self, count: int) -> Iterator[int]:
        """The seeds of so many trials, while there is time."""
        for seed in range(self.seed, self.seed + count):
            if time.monotonic() > self.until:
                return
            yield seed

    def folder(self, seed: int) -> Path:
        """The folder of a trial."""
        return self.folders[seed % len(self.folders)]


def try_folders(plan: Plan, pool: Pool, tally: Tally) -> None:
    """Mutants of every file: each is refused, right, or a model of its own."""
    originals = []
    for index, folder in enumerate(plan.folders):
        original = plan.work / f"original.{index}"
        shutil.copytree(folder, original)
        originals.append(original)
    mutators = [FolderMutator(original) for original in originals]
    expected = [_translations_of(original, pool) for original in originals]

    def trials() -> Iterator[Trial]:
        for seed in plan.seeds(plan.count):
            index = seed % len(originals)
            case = plan.work / f"case.{seed}"
            mutation = mutators[index].write(case, random.Random(seed))
            if mutation.kind.startswith(plan.without):
                shutil.rmtree(case)
                continue
            os.utime(case / OUTSIDE, ns=(0, 0))  # so that the next access is recorded
            arguments = {"folder": str(case / MODEL), "sentences": SENTENCES}
            yield Trial("folder", arguments, (seed, case, mutation, expected[index]))

    for trial, outcome in pool.run(trials()):
        seed, case, mutation, right = trial.about
        judgement = judge_mutant(outcome, mutation, right)
        if (case / OUTSIDE).stat().st_atime_ns and not mutation.links_outside:
            judgement = Judgement(Verdict.OUTSIDE, mutation.kind, outcome.message)
        detail = f"{mutation.kind}: {mutation.detail}"
        tally.add(judgement, kind="folder", seed=seed, detail=detail, subject=case / MODEL)
        shutil.rmtree(case)


def judge_mutant(outcome: Outcome, mutation: Mutation, expected: Sequence[Any]) -> Judgement:
    """The verdict on a mutant, by what its mutation allows."""
    failure = judge_failure(outcome, may_be_slow=mutation.may_be_slow)
    if failure is not None:
        return failure
    if mutation.allowed is Allowed.NOTHING:
        return Judgement(Verdict.WRONG, mutation.kind, "it was accepted")
    if same_translations(expected, outcome.translations):
        return Judgement(Verdict.RIGHT)
    if mutation.allowed is Allowed.ANOTHER:
        return Judgement(Verdict.OTHER_MODEL)
    return Judgement(Verdict.WRONG, mutation.kind, "other translations without an error")


def try_texts(plan: Plan, pool: Pool, tally: Tally) -> None:
    """Texts alone and together; a batch counts as many texts as it has."""
    tried = 0

    def trials() -> Iterator[Trial]:
        nonlocal tried
        for seed in plan.seeds(plan.count):
            if tried >= plan.count:
                return
            batch, all_text = make_batch(random.Random(seed))
            tried += len(batch)
            arguments = {"folder": str(plan.folder(seed)), "texts": batch}
            yield Trial("texts", arguments, (seed, batch, all_text))

    for trial, outcome in pool.run(trials()):
        seed, batch, all_text = trial.about
        judgement = judge_failure(outcome)
        if judgement is None:
            judgement = Judgement(Verdict.RIGHT)
            if len(outcome.translations) != len(batch):
                judgement = Judgement(Verdict.WRONG, "number", "another number of translations")
            elif not all_text:
                judgement = Judgement(Verdict.WRONG, "accepted", "what is no text was translated")
        elif judgement.verdict is Verdict.UNCLEAR and "differs alone" in judgement.reason:
            judgement = Judgement(Verdict.WRONG, "differs alone", judgement.reason)
        elif judgement.verdict is Verdict.REFUSED and all_text:
            judgement = Judgement(Verdict.WRONG, "refused", judgement.reason)
        for _ in batch[1:]:
            tally.counts[judgement.verdict] += 1
        detail = repr([text[:40] if isinstance(text, str) else text for text in batch])
        tally.add(judgement, kind="texts", seed=seed, detail=detail)


def try_options(plan: Plan, pool: Pool, tally: Tally) -> None:
    """Sets of options by the graph and by steps: both refuse, or both give the same."""
    configs = [ModelConfig.load(folder) for folder in plan.folders]
    halves: dict[int, Outcome] = {}

    def trials() -> Iterator[Trial]:
        for seed in plan.seeds(plan.count):
            config = configs[seed % len(configs)]
            vocab_size = config.architecture.target_vocab_size
            options = make_options(random.Random(seed), vocab_size)
            full = {"max_length": MAX_LENGTH, **options}
            valid = is_valid(full, config.decoding, vocab_size)
            for way in ("graph", "steps"):
                arguments = {
                    "folder": str(plan.folder(seed)),
                    "sentences": SENTENCES[:2],
                    "options": options,
                    "way": way,
                }
                yield Trial("options", arguments, (seed, options, valid))

    for trial, outcome in pool.run(trials()):
        seed, options, valid = trial.about
        if seed not in halves:
            halves[seed] = outcome
            continue
        judgement = judge_options(halves.pop(seed), outcome, options, valid)
        tally.add(judgement, kind="options", seed=seed, detail=repr(options))


def judge_options(one: Outcome, other: Outcome, options: dict[str, Any], valid: bool) -> Judgement:
    """The verdict on two runs with one set of options."""
    failures = [judge_failure(outcome) for outcome in (one, other)]
    faults = [f for f in failures if f is not None and f.verdict is not Verdict.REFUSED]
    if faults:
        return faults[0]
    refused = [failure is not None for failure in failures]
    if all(refused):
        if valid and not is_demanding(options):
            return Judgement(Verdict.WRONG, "refused", one.message)
        return Judgement(Verdict.REFUSED)
    if not valid:
        return Judgement(Verdict.WRONG, "accepted", "a wrong option was accepted")
    if any(refused):
        message = one.message or other.message
        if is_demanding(options):
            return Judgement(Verdict.REFUSED)
        return Judgement(Verdict.WRONG, "one way", f"only one way refuses: {message}")
    if not same_translations(one.translations, other.translations):
        differ = f"{one.translations} and {other.translations}"
        return Judgement(Verdict.WRONG, "ways differ", f"graph and steps differ: {differ}")
    return Judgement(Verdict.RIGHT)


def keeps_access_times(folder: Path) -> bool:
    """Whether the file system records that a file is read: `noatime` ones do not."""
    probe = folder / "probe"
    probe.write_bytes(b"x")
    os.utime(probe, ns=(0, 0))
    probe.read_bytes()
    kept = probe.stat().st_atime_ns != 0
    probe.unlink()
    return kept


def _translations_of(folder: Path, pool: Pool) -> list[Any]:
    arguments = {"folder": str(folder), "sentences": SENTENCES}
    ((_, outcome),) = list(pool.run([Trial("folder", arguments)]))
    if outcome.status != "translated" or outcome.complaints:
        raise RuntimeError(f"{folder} itself does not translate: {outcome}")
    return list(outcome.translations)


CAMPAIGNS: dict[str, Callable[[Plan, Pool, Tally], None]] = {
    "folder": try_folders,
    "texts": try_texts,
    "options": try_options,
}
