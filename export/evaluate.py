"""BLEU and chrF of a model folder, per corpus and variant, through the runtime."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sacrebleu
from sacrebleu.significance import PairedTest

from tfm.runtime import Translator
from tfm.runtime.bundled import bundled_model
from tfm.runtime.config import ModelConfig
from tfm.runtime.device import CUDA_PROVIDER, load_onnxruntime
from tfm.trainer.config import CorpusRecipe
from tfm.trainer.data import read_corpora
from tfm.trainer.evaluate import Scores, score

from .errors import ExportError
from .variants import FOR_CUDA, open_to_check

ALL = "all"
BOOTSTRAP_SAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores by corpus, with `all` for the whole test set, and the translations behind them."""

    variant: str
    scores: dict[str, Scores]
    sentences: dict[str, int]
    hypotheses: list[str]
    references: list[str]


def evaluate_folder(
    folder: Path | None,
    test: Path,
    variants: Sequence[str],
    beam_size: int | None,
    threads: int,
) -> list[Evaluation]:
    """Translate a .tsv test set (source, target, corpus) with each variant and score it.

    Args:
        folder: a model folder; None is the bundled one
        variants: which; empty is all that the folder has
        beam_size: None is the model's own

    Raises:
        TrainError: the test set cannot be read
        ModelError: the model folder cannot be used
    """
    text = read_corpora([CorpusRecipe(path=str(test.resolve()))], Path())
    names = dict.fromkeys(text.corpora)
    providers = load_onnxruntime().get_available_providers()
    evaluations = []
    there = ModelConfig.load(folder or bundled_model()).variants
    for variant in variants or there:
        if variant in FOR_CUDA & there.keys() and CUDA_PROVIDER not in providers:
            translator = open_to_check(folder or bundled_model(), variant, threads)
        else:
            translator = Translator(folder, variant=variant, intra_threads=threads)
        found = translator.translate_batch(text.sources, beam_size=beam_size)
        outputs = [translation.text for translation in found]
        scores, counts = {}, {}
        for name in (*names, ALL):
            rows = [i for i, corpus in enumerate(text.corpora) if name in (ALL, corpus)]
            scores[name] = score([outputs[i] for i in rows], [text.targets[i] for i in rows])
            counts[name] = len(rows)
        evaluations.append(Evaluation(variant, scores, counts, outputs, text.targets))
    return evaluations


def paired_bootstrap(evaluation: Evaluation, other: Sequence[str]) -> str:
    """A Markdown table of another system's translations of the same test set against these.

    Paired bootstrap resampling (Koehn 2004) by sacrebleu: BOOTSTRAP_SAMPLES times the test set is
    drawn anew, both systems on the same sentences. p is how probable a difference of this size
    would be if the systems were equally good.

    Args:
        other: a translation for every sentence of the test set, in its order

    Raises:
        ExportError: other has more or fewer lines than the test set
    """
    ours = evaluation.hypotheses
    if len(other) != len(ours):
        raise ExportError(
            f"{len(other)} translations to compare with a test set of {len(ours)} sentences: "
            "give one line for each"
        )
    _, found = PairedTest(
        [("other", list(other)), (evaluation.variant, ours)],
        {"BLEU": sacrebleu.BLEU(), "chrF": sacrebleu.CHRF()},
        [evaluation.references],
        test_type="bs",
        n_samples=BOOTSTRAP_SAMPLES,
    )()
    lines = [
        f"| all | other | {evaluation.variant} | difference | p |",
        "|---|--:|--:|--:|--:|",
    ]
    for metric, results in found.items():
        theirs, mine = results
        if isinstance(theirs, str) or isinstance(mine, str):  # the systems' names
            continue
        lines.append(
            f"| {metric} | {theirs.mean:.1f} ± {theirs.ci:.1f} | {mine.mean:.1f} ± {mine.ci:.1f} | "
            f"{mine.score - theirs.score:+.1f} | {mine.p_value:.3f} |"
        )
    return "\n".join(lines)


def as_table(evaluations: Sequence[Evaluation]) -> str:
    """A Markdown table, one row per corpus, and sacrebleu's signatures below it."""
    first = evaluations[0]
    variants = [evaluation.variant for evaluation in evaluations]
    header = ["corpus", "sentences", *(f"{v} {m}" for v in variants for m in ("BLEU", "chrF"))]
    lines = [f"| {' | '.join(header)} |", f"|---|{'--:|' * (len(header) - 1)}"]
    for name, count in first.sentences.items():
        cells = [name, str(count)]
        for evaluation in evaluations:
            cells += [
                f"{evaluation.scores[name].bleu:.1f}",
                f"{evaluation.scores[name].chrf:.1f}",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    scores = first.scores[ALL]
    return "\n".join([*lines, "", scores.bleu_signature, scores.chrf_signature])
