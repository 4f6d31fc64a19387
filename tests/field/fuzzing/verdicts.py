"""What may come of a trial, and how the trials of a campaign are counted."""

import enum
import json
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LONGEST_MESSAGE = 1000  # characters of an error message that still is a line to read
LARGEST_LOADING = 1 << 29  # bytes that loading a model of 12 MB may take


class Verdict(enum.StrEnum):
    """What came of a trial; those of `FAULTS` must not happen."""

    REFUSED = "clear error"
    RIGHT = "right"
    OTHER_MODEL = "another model"  # the change was one that a model folder may have
    SLOW = "slow"  # a graph that never ends, or takes much memory, once it is run
    WRONG = "wrong"
    UNCLEAR = "unclear error"
    TRACEBACK = "traceback"
    MEMORY = "memory"
    OUTSIDE = "read outside"
    HANG = "hang"
    CRASH = "crash"


FAULTS = frozenset(Verdict) - {
    Verdict.REFUSED,
    Verdict.RIGHT,
    Verdict.OTHER_MODEL,
    Verdict.SLOW,
}


@dataclass(frozen=True)
class Outcome:
    """What a child process did with a trial, before anyone judges it.

    Attributes:
        status: "translated", "refused", "traceback", "hang" or "crash"
        phase: "load" until the model was loaded, then "translate"
        message: of the error; of a crash, the signal
        place: type of an error that is not one of ours, and where in tfm it came from
        translations: what the trial returned, to be compared
        noise: what was printed, by whatever library
        complaints: what is wrong with the output in itself
        loading_bytes: how much the process grew while it loaded the model
        seconds: of the whole trial
    """

    status: str
    phase: str = "load"
    message: str = ""
    place: str = ""
    translations: Any = None
    noise: str = ""
    complaints: tuple[str, ...] = ()
    loading_bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Judgement:
    """A verdict, and why.

    Attributes:
        group: what the faults of one kind have in common
        reason: in one line
    """

    verdict: Verdict
    group: str = ""
    reason: str = ""


def is_clear(message: str) -> bool:
    """Whether an error is one line that can be read and shown by any terminal."""
    return bool(message.strip()) and len(message) <= LONGEST_MESSAGE and message.isprintable()


def judge_failure(outcome: Outcome, *, may_be_slow: bool = False) -> Judgement | None:
    """The judgement on whatever is not a translation; None for a translation.

    Args:
        may_be_slow: the trial runs a graph that never ends or takes much memory
    """
    if outcome.status in ("crash", "hang"):
        if may_be_slow and outcome.phase == "translate":
            return Judgement(Verdict.SLOW)
        verdict = Verdict(outcome.status)
        last = outcome.noise.strip().splitlines()[-1:] or [""]
        where = f"{outcome.phase} {outcome.message}".strip()
        return Judgement(verdict, where, f"{where}: {last[0]}")
    if outcome.status == "traceback":
        if may_be_slow and outcome.phase == "translate" and "MemoryError" in outcome.place:
            return Judgement(Verdict.SLOW)
        return Judgement(Verdict.TRACEBACK, outcome.place, outcome.message)
    if outcome.loading_bytes > LARGEST_LOADING:
        size = f"{outcome.loading_bytes >> 20} MiB to load"
        return Judgement(Verdict.MEMORY, "load", size)
    if outcome.complaints:
        return Judgement(Verdict.UNCLEAR, outcome.complaints[0][:40], "; ".join(outcome.complaints))
    if outcome.status != "refused":
        if "Warning" in outcome.noise or "onnxruntime" in outcome.noise:
            return Judgement(Verdict.UNCLEAR, "printed by a translation", outcome.noise)
        return None
    if not is_clear(outcome.message):
        return Judgement(Verdict.UNCLEAR, f"{outcome.phase}: message", outcome.message)
    if outcome.noise.strip():
        return Judgement(Verdict.UNCLEAR, f"{outcome.phase}: printed", outcome.noise)
    return Judgement(Verdict.REFUSED, reason=outcome.message)


@dataclass
class Tally:
    """The verdicts of a campaign, and the first faults of every group.

    Attributes:
        folder: where faults are kept; None keeps none
        per_group: how many faults of a group are kept
        every: after so many trials a line on stderr says how many there were
    """

    folder: Path | None = None
    per_group: int = 3
    every: int = 500
    counts: Counter[Verdict] = field(default_factory=Counter)
    groups: Counter[tuple[str, Verdict, str]] = field(default_factory=Counter)
    reasons: dict[tuple[str, Verdict, str], list[str]] = field(default_factory=dict)

    @property
    def faults(self) -> int:
        """How many trials had a verdict that must not happen."""
        return sum(self.counts[verdict] for verdict in FAULTS)

    def add(
        self,
        judgement: Judgement,
        *,
        kind: str,
        seed: int,
        detail: str,
        subject: Path | None = None,
    ) -> None:
        """Count a verdict; a fault is kept with its seed and, for a folder, a copy of it."""
        self.counts[judgement.verdict] += 1
        if self.counts.total() % self.every == 0:
            print(f"{kind}: {self.counts.total()}, {self.faults} faults", file=sys.stderr)
        if judgement.verdict not in FAULTS:
            return
        group = (kind, judgement.verdict, judgement.group)
        self.groups[group] += 1
        reasons = self.reasons.setdefault(group, [])
        if len(reasons) >= self.per_group:
            return
        reasons.append(f"seed {seed}: {detail}: {judgement.reason}"[:600])
        if self.folder is None:
            return
        kept = self.folder / f"{judgement.verdict.replace(' ', '-')}-{kind}-{seed}"
        kept.mkdir(parents=True, exist_ok=True)
        facts = {
            "verdict": judgement.verdict,
            "group": judgement.group,
            "reason": judgement.reason,
            "detail": detail,
            "again": f"python tests/field/fuzz.py --only {kind} --seed {seed} --{_COUNTS[kind]} 1",
        }
        text = json.dumps(facts, indent=2, ensure_ascii=True)
        (kept / "fault.json").write_text(text + "\n", "utf-8")
        if subject is not None:
            shutil.copytree(subject, kept / "model", symlinks=True, dirs_exist_ok=True,
                            ignore=_not_plain)  # fmt: skip

    def report(self) -> str:
        """The counts, and below them the faults by group, the most frequent first."""
        lines = [f"  {verdict:<14}{self.counts[verdict]:>7}" for verdict in Verdict]
        for group, count in self.groups.most_common():
            kind, verdict, name = group
            lines.append(f"{verdict} ({kind}), {count} times: {escaped(name)}")
            lines += [f"    {escaped(reason)}" for reason in self.reasons[group]]
        return "\n".join(lines)


# Which option of fuzz.py says how many trials of a kind there are.
_COUNTS = {"folder": "mutants", "texts": "texts", "options": "option-sets"}


def escaped(text: str) -> str:
    """A text in one line, with only characters that a terminal shows as they are."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


def signal_name(exit_status: int) -> str:
    """What ended a process: SIGSEGV, ... or its exit status."""
    if exit_status >= 0:
        return f"exit status {exit_status}"
    return signal.Signals(-exit_status).name


def same_translations(
    expected: Sequence[Any], actual: Sequence[Any], tolerance: float = 1e-3
) -> bool:
    """Whether two runs gave the same hypotheses: text, tokens, and scores within a tolerance."""
    if len(expected) != len(actual):
        return False
    for ours, theirs in zip(expected, actual, strict=True):
        if len(ours) != len(theirs):
            return False
        for (text, tokens, score), (other_text, other_tokens, other_score) in zip(
            ours, theirs, strict=True
        ):
            # "not <=": a score that is no number differs as well
            if (text, tokens) != (other_text, other_tokens) or not (
                abs(score - other_score) <= tolerance
            ):
                return False
    return True


def _not_plain(folder: str, names: Collection[str]) -> list[str]:
    """What is not worth a copy, or cannot be copied: pipes, and large files."""
    paths = [Path(folder) / name for name in names]
    large = [p.name for p in paths if p.is_file() and p.stat().st_size > LARGEST_LOADING]
    return [*large, *(p.name for p in paths if p.is_fifo())]
