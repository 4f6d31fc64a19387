"""What a variant costs in translation quality, and which linear layers must stay in float."""

import logging
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tfm.export.errors import ExportError
from tfm.trainer.bleu import Scores, score

from .variants import open_to_check

logger = logging.getLogger(__name__)

BASELINE = "fp32"
MAX_FLOAT_SHARE = 0.25  # give up when more than a quarter of the layers would stay in float
TIMED, ROUNDS = 32, 3  # sentences that speed is measured on, and how often

Write = Callable[[Path, str, Collection[str]], None]
Rank = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Development:
    """Sentences that variants are measured on, and what a variant may lose."""

    sources: list[str]
    references: list[str]
    max_loss: float | None = None  # chrF points against fp32; None accepts any
    tokenize: str | None = None  # sacrebleu's tokenizer for BLEU; None: the target language's


@dataclass(frozen=True, slots=True)
class Trial:
    """A variant in a model folder of its own, and its scores on the development set."""

    folder: Path
    kept_float: list[str]
    scores: Scores
    texts: Sequence[str] = ()  # the translations
    unchanged: float | None = None  # share of the texts that a shortlist left as they were


@dataclass(frozen=True, slots=True)
class Quality:
    """A variant measured on the development set, with the model's default beam size."""

    scores: Scores
    chrf_loss: float  # points against fp32; negative when it happens to be better
    speed: float  # of translating, relative to fp32
    megabytes: float  # of the variant's files
    kept_float: list[str]  # names of linear layers (linears.py)
    unchanged: float | None = None  # share of the sentences that a shortlist left as they were


def tune(
    variants: Sequence[str], write: Write, rank: Rank, folder: Path, development: Development
) -> dict[str, Trial]:
    """Find for every variant the fewest linear layers to leave in float, and measure fp32 too.

    Args:
        write: writes a model folder of one variant, with these layers in float
        rank: names of the layers that a variant quantizes, the most sensitive first
        folder: where trials are written
        development: what to measure on, and the largest loss

    Returns:
        a trial per variant, fp32 among them

    Raises:
        ExportError: a variant loses more than max_loss even with a quarter of its layers in float
    """
    trials = {BASELINE: _trial(BASELINE, [], write, folder, development)}
    for variant in variants:
        if variant != BASELINE:
            baseline = trials[BASELINE].scores
            trials[variant] = _tune_one(variant, write, rank, folder, development, baseline)
    return trials


def _tune_one(
    variant: str,
    write: Write,
    rank: Rank,
    folder: Path,
    development: Development,
    baseline: Scores,
) -> Trial:
    """Leave one layer after the other in float, and translate the development set every time.

    The rank only gives the order; the loss of the translations decides when to stop.
    """
    ranked: Sequence[str] = ()
    exclude: list[str] = []
    while True:
        trial = _trial(variant, exclude, write, folder, development)
        loss, limit = baseline.chrf - trial.scores.chrf, development.max_loss
        logger.info("%s with %d layers in float loses %.2f chrF", variant, len(exclude), loss)
        if limit is None or loss <= limit:
            return trial
        ranked = ranked or rank(variant)
        if len(exclude) + 1 > MAX_FLOAT_SHARE * len(ranked):
            raise ExportError(
                f"{variant} loses {loss:.2f} chrF against {BASELINE}, more than {limit:.2f}, even "
                f"with its {len(exclude)} most sensitive layers in float; nothing was written: "
                "leave it out or allow more"
            )
        exclude = [*exclude, ranked[len(exclude)]]
        logger.info("%s: leaving %s in float", variant, exclude[-1])


def shorten(
    trials: Mapping[str, Trial],
    variants: Sequence[str],
    write: Write,
    folder: Path,
    development: Development,
) -> dict[str, Trial]:
    """Measure every variant with a shortlist, against fp32 and against itself without one.

    Args:
        trials: of the variants without a shortlist, and of fp32
        write: writes a model folder of one variant with the shortlist
        folder: where trials are written

    Returns:
        a trial with a shortlist per variant

    Raises:
        ExportError: a variant loses more than max_loss
    """
    listed = {}
    for variant in variants:
        before = trials[variant]
        trial = _trial(variant, before.kept_float, write, folder, development)
        loss, limit = trials[BASELINE].scores.chrf - trial.scores.chrf, development.max_loss
        same = sum(map(str.__eq__, trial.texts, before.texts)) / len(trial.texts)
        logger.info("%s with the shortlist loses %.2f chrF, %.1f%% of the sentences are unchanged",
                    variant, loss, 100 * same)  # fmt: skip
        if limit is not None and loss > limit:
            raise ExportError(
                f"{variant} with the shortlist loses {loss:.2f} chrF against {BASELINE}, more than "
                f"{limit:.2f}; nothing was written: leave --shortlist out or allow more"
            )
        listed[variant] = replace(trial, unchanged=same)
    return listed


def _trial(
    variant: str, exclude: list[str], write: Write, folder: Path, development: Development
) -> Trial:
    path = folder / f"{variant}-{len(exclude)}"
    write(path, variant, exclude)
    translator = open_to_check(path, variant)
    translations = translator.translate_batch(development.sources, placeholders=None)
    texts = [translation.text for translation in translations]
    language, tokenize = translator.config.languages.target, development.tokenize
    scores = score(texts, development.references, language, tokenize)
    return Trial(path, exclude, scores, texts)


def compare(
    trials: Mapping[str, Trial], sentences: Sequence[str], baseline: Trial | None = None
) -> dict[str, Quality]:
    """Add sizes and speeds to the scores.

    Variants are timed in turns, so that a busy machine slows all of them alike.

    Args:
        trials: by variant
        sentences: TIMED of them are translated as one batch
        baseline: what all are compared with; None is the trial of fp32
    """
    baseline = baseline or trials[BASELINE]
    timed_trials = {**trials, "": baseline}
    timed = [sentences[i * len(sentences) // TIMED] for i in range(TIMED)]
    translators = {
        variant: open_to_check(trial.folder, variant or BASELINE)
        for variant, trial in timed_trials.items()
    }
    seconds: dict[str, list[float]] = {variant: [] for variant in timed_trials}
    for round_ in range(ROUNDS + 1):
        for variant, translator in translators.items():
            start = time.perf_counter()
            translator.translate_batch(timed, placeholders=None)
            if round_:  # the first warms up
                seconds[variant].append(time.perf_counter() - start)
    typical = {variant: statistics.median(measured) for variant, measured in seconds.items()}
    return {
        variant: Quality(
            scores=trial.scores,
            chrf_loss=baseline.scores.chrf - trial.scores.chrf,
            speed=typical[""] / typical[variant],
            megabytes=sum(p.stat().st_size for p in (trial.folder / variant).iterdir()) / 1e6,
            kept_float=trial.kept_float,
            unchanged=trial.unchanged,
        )
        for variant, trial in trials.items()
    }
