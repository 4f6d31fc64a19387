"""What a variant costs in translation quality, and which products must stay in float for it."""

import logging
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfm.export.errors import ExportError
from tfm.trainer.bleu import Scores, score

from .variants import open_to_check

logger = logging.getLogger(__name__)

BASELINE = "fp32"
MOST_KEPT = 0.25  # share of the products; a variant with more of them in float is none
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


@dataclass(frozen=True, slots=True)
class Quality:
    """What a variant is worth, measured on the development set with the model's own beam size."""

    scores: Scores
    chrf_loss: float  # points against fp32; negative when it happens to be better
    speed: float  # of translating, relative to fp32
    megabytes: float  # of the variant's files
    kept_float: list[str]  # names of products (products.py)


def tune(
    variants: Sequence[str], write: Write, rank: Rank, folder: Path, development: Development
) -> dict[str, Trial]:
    """Find for every variant the fewest products to keep in float; fp32 comes along.

    Args:
        write: makes a model folder of this variant with these products in float
        rank: names of a variant's products, the most sensitive first
        folder: where trials are written

    Raises:
        ExportError: a variant loses more than max_loss even with a quarter of its products in float
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
    """Keep products one after the other, and translate the development set every time.

    The rank only says which to try next; when it is enough, translations tell.
    """
    ranked: Sequence[str] = ()
    kept: list[str] = []
    while True:
        trial = _trial(variant, kept, write, folder, development)
        loss, limit = baseline.chrf - trial.scores.chrf, development.max_loss
        logger.info("%s with %d products in float loses %.2f chrF", variant, len(kept), loss)
        if limit is None or loss <= limit:
            return trial
        ranked = ranked or rank(variant)
        if len(kept) + 1 > MOST_KEPT * len(ranked):
            raise ExportError(
                f"{variant} loses {loss:.2f} chrF against {BASELINE}, more than {limit:.2f}, even "
                f"with its {len(kept)} most sensitive products in float; nothing was written: "
                "leave it out or allow more"
            )
        kept = [*kept, ranked[len(kept)]]
        logger.info("%s: keeping %s in float", variant, kept[-1])


def _trial(
    variant: str, kept: list[str], write: Write, folder: Path, development: Development
) -> Trial:
    path = folder / f"{variant}-{len(kept)}"
    write(path, variant, kept)
    translator = open_to_check(path, variant)
    found = translator.translate_batch(development.sources)
    texts = [one.text for one in found]
    language, tokenize = translator.config.languages.target, development.tokenize
    return Trial(path, kept, score(texts, development.references, language, tokenize))


def compare(trials: Mapping[str, Trial], sentences: Sequence[str]) -> dict[str, Quality]:
    """Join scores with sizes and with speeds, measured in turns so that all see the same machine.

    Args:
        trials: by variant, fp32 among them
        sentences: some of them are translated as one batch
    """
    timed = [sentences[i * len(sentences) // TIMED] for i in range(TIMED)]
    translators = {
        variant: open_to_check(trial.folder, variant) for variant, trial in trials.items()
    }
    seconds: dict[str, list[float]] = {variant: [] for variant in trials}
    for round_ in range(ROUNDS + 1):
        for variant, translator in translators.items():
            start = time.perf_counter()
            translator.translate_batch(timed)
            if round_:  # the first warms up
                seconds[variant].append(time.perf_counter() - start)
    typical = {variant: statistics.median(measured) for variant, measured in seconds.items()}
    return {
        variant: Quality(
            scores=trial.scores,
            chrf_loss=trials[BASELINE].scores.chrf - trial.scores.chrf,
            speed=typical[BASELINE] / typical[variant],
            megabytes=sum(p.stat().st_size for p in (trial.folder / variant).iterdir()) / 1e6,
            kept_float=trial.kept_float,
        )
        for variant, trial in trials.items()
    }
