"""What a model makes of the sentences of tests/models, and of changed input, as tables."""

import bisect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.field_sets import (
    PHRASES_OF_CI,
    CopyRow,
    FieldRow,
    NameRow,
    PhraseRow,
    read_copies,
    read_names,
    read_phrases,
)
from tfm.trainer.bleu import score

Translate = Callable[[list[str]], list[str]]
ALL = "all"


@dataclass(frozen=True, slots=True)
class FieldSystem:
    """A model to score.

    Attributes:
        source: its language, "zh" or "en"
        target: the other one
    """

    name: str
    source: str
    target: str
    translate: Translate


@dataclass(frozen=True, slots=True)
class WrongRow:
    """A translation that is not right, with the set that it belongs to."""

    system: str
    field_set: str
    source: str
    reference: str
    translation: str


@dataclass(frozen=True, slots=True)
class FieldScores:
    """Of one system.

    Attributes:
        names: share of the names that are right, by kind and for all
        whole: share of the sentences with every item at least once, by category and for all
        copies: share of those with every item exactly once
        phrases: share of the phrases that are right: those of CI and all
    """

    system: str
    names: dict[str, float]
    whole: dict[str, float]
    copies: dict[str, float]
    phrases: dict[str, float]
    wrong: list[WrongRow]


def score_system(system: FieldSystem) -> FieldScores:
    """Translate all three files and count."""
    names, copies, phrases = read_names(), read_copies(), read_phrases()
    rows: list[FieldRow] = [*names, *copies, *phrases]
    translations = system.translate([row.sentence(system.source) for row in rows])
    named = list(zip(names, translations[: len(names)], strict=True))
    rest = translations[len(names) :]
    copied = list(zip(copies, rest[: len(copies)], strict=True))
    phrased = list(zip(phrases, rest[len(copies) :], strict=True))
    target = system.target
    return FieldScores(
        system=system.name,
        names=_shares((row.kind, row.is_right(text, target)) for row, text in named),
        whole=_shares((row.category, row.is_whole(text)) for row, text in copied),
        copies=_shares((row.category, row.is_right(text, target)) for row, text in copied),
        phrases=_phrase_shares([row.is_right(text, target) for row, text in phrased]),
        wrong=[
            *_wrong_rows(system, "names", named),
            *_wrong_rows(system, "copies", copied),
            *_wrong_rows(system, "phrases", phrased),
        ],
    )


def tables(scores: Sequence[FieldScores]) -> str:
    """The three tables as Markdown, in percent, a column or two for each system."""
    counts = {
        "names": _counts(row.kind for row in read_names()),
        "copies": _counts(row.category for row in read_copies()),
        "phrases": {f"first {PHRASES_OF_CI}": PHRASES_OF_CI, ALL: len(read_phrases())},
    }
    columns = {
        "names": [(one.system, one.names) for one in scores],
        "copies": [
            column
            for one in scores
            for column in (
                (f"{one.system} whole", one.whole),
                (f"{one.system} exactly once", one.copies),
            )
        ],
        "phrases": [(one.system, one.phrases) for one in scores],
    }
    return "\n\n".join(_table(title, counts[title], columns[title]) for title in counts)


def score_changed_input(
    system: FieldSystem, pairs: Sequence[tuple[str, str]], change: Callable[[str], str]
) -> tuple[float, float]:
    """chrF of a system on sentences as they are, and on the same ones changed.

    Args:
        pairs: sentences in the system's source language, with their translations
    """
    sources, references = (list(side) for side in zip(*pairs, strict=True))
    plain, changed = (
        score(system.translate(texts), references, language=system.target).chrf
        for texts in (sources, [change(source) for source in sources])
    )
    return plain, changed


def read_dev(path: Path, source: str, most: int) -> list[tuple[str, str]]:
    """Pairs of a .tsv whose columns are Chinese, English and whatever else, source first.

    Args:
        source: "zh" or "en"
        most: that many, spread over the whole file
    """
    lines = [line.split("\t") for line in path.read_text("utf-8").splitlines()]
    short = next((number for number, cells in enumerate(lines, 1) if len(cells) < 2), None)
    if short is not None:
        raise ValueError(f"{path}, line {short}: no tab between Chinese and English")
    if not lines:
        raise ValueError(f"{path}: no sentence to score")
    step = max(1, len(lines) // most)
    pairs = [(cells[0], cells[1]) for cells in lines[::step][:most]]
    return pairs if source == "zh" else [(english, chinese) for chinese, english in pairs]


def _wrong_rows(
    system: FieldSystem,
    field_set: str,
    rows: Sequence[tuple[NameRow, str]]
    | Sequence[tuple[CopyRow, str]]
    | Sequence[tuple[PhraseRow, str]],
) -> list[WrongRow]:
    return [
        WrongRow(
            system.name,
            field_set,
            row.sentence(system.source),
            row.sentence(system.target),
            text,
        )
        for row, text in rows
        if not row.is_right(text, system.target)
    ]


def _shares(results: Iterable[tuple[str, bool]]) -> dict[str, float]:
    by_group: dict[str, list[bool]] = {}
    for group, right in results:
        by_group.setdefault(group, []).append(right)
    by_group[ALL] = [right for group in by_group.values() for right in group]
    return {group: sum(rights) / len(rights) for group, rights in by_group.items()}


def _phrase_shares(rights: Sequence[bool]) -> dict[str, float]:
    first = rights[:PHRASES_OF_CI]
    return {
        f"first {PHRASES_OF_CI}": sum(first) / len(first),
        ALL: sum(rights) / len(rights),
    }


def _counts(groups: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for group in groups:
        counts[group] = counts.get(group, 0) + 1
    counts[ALL] = sum(counts.values())
    return counts


def _table(
    title: str, counts: dict[str, int], columns: Sequence[tuple[str, dict[str, float]]]
) -> str:
    lines = [
        " | ".join([f"| {title}", "sentences", *(name for name, _ in columns)]) + " |",
        "|---|" + "--:|" * (1 + len(columns)),
    ]
    for group, count in counts.items():
        shares = [f"{100 * column[group]:.1f}" for _, column in columns]
        lines.append(" | ".join([f"| {group}", str(count), *shares]) + " |")
    return "\n".join(lines)


def area_under_curve(values: Sequence[float], is_bad: Sequence[bool]) -> float:
    """The probability that a bad item has the higher value than a good one (the area under the ROC
    curve); ties count half, and it is NaN without one of either kind."""
    pairs = list(zip(values, is_bad, strict=True))
    good = sorted(value for value, bad in pairs if not bad)
    bad = [value for value, is_bad in pairs if is_bad]
    if not good or not bad:
        return math.nan
    wins = sum(bisect.bisect_left(good, v) + bisect.bisect_right(good, v) for v in bad) / 2
    return wins / (len(good) * len(bad))
