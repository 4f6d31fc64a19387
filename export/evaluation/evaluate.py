"""BLEU and chrF of a system on a test set, per corpus, and against another system."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import sacrebleu
from sacrebleu.significance import PairedTest, Result

from tfm.export.errors import ExportError
from tfm.runtime.files.display import printable
from tfm.runtime.files.text import read_lines
from tfm.runtime.options import DecodingOptions
from tfm.trainer.bleu import Scores, bleu_metric, score, tokenizer_for
from tfm.trainer.data.corpora import ParallelText, read_pairs
from tfm.trainer.data.recipe import CorpusRecipe
from tfm.trainer.errors import TrainError

from .translators import EvaluatedSystem

ALL = "all"
BOOTSTRAP_SAMPLES = 1000
MANY_CORPORA, FEW_SENTENCES = 20, 10  # more than these, with fewer each on average, are none

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores by corpus, with `all` for the whole test set, and the translations behind them.

    `tokenize` is the name of sacrebleu's tokenizer.
    """

    system: str
    tokenize: str
    scores: dict[str, Scores]
    sentences: dict[str, int]
    hypotheses: list[str]
    references: list[str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Another system's score in a metric and ours, each with the mean and the 95 % interval of the
    bootstrap; ours has p."""

    metric: str
    other: Result
    ours: Result


def read_test(paths: Sequence[Path], reverse: bool = False) -> ParallelText:
    """A test set: a .tsv (source, target, corpus; with reverse target, source, corpus), or aligned
    files of sources and references. Empty sides stay, so that lines keep their numbers.

    A third column that differs from line to line names no corpora, but notes, such as who wrote a
    sentence: then all is one corpus, and a warning says so.

    Raises:
        TrainError: a file cannot be read or has no line, or the two differ in length
    """
    names = [str(path.resolve()) for path in paths]
    aligned = len(names) == 2
    recipe = (
        CorpusRecipe(source=names[0], target=names[1])
        if aligned
        else CorpusRecipe(path=names[0], reverse=reverse)
    )
    rows = list(read_pairs(recipe))
    if not rows:
        raise TrainError(f"{names[0]}: no sentence to score")
    sources, targets, corpora = (list(column) for column in zip(*rows, strict=True))
    count = len(set(corpora))
    if count > MANY_CORPORA and count * FEW_SENTENCES > len(rows):
        logger.warning(
            "%s: the third column has %d different texts in %d lines: taken for notes, not for"
            " names of corpora",
            paths[0],
            count,
            len(rows),
        )
        corpora = [paths[0].name] * len(rows)
    return ParallelText(sources, targets, corpora)


def evaluate(
    system: EvaluatedSystem,
    test: ParallelText,
    options: DecodingOptions | None = None,
    tokenize: str | None = None,
) -> Evaluation:
    """Translate a test set and score it.

    Args:
        options: how to decode; None is the system's own options
        tokenize: the name of sacrebleu's tokenizer; None is the target language's

    Raises:
        TrainError: the tokenizer cannot be used
    """
    tokenize = tokenize or tokenizer_for(system.language)
    bleu_metric(tokenize)  # now, not after an hour of translating
    outputs = system.translate(test.sources, options or system.options)
    rows_by_corpus: dict[str, list[int]] = {}
    for row, name in enumerate(test.corpora):
        rows_by_corpus.setdefault(name, []).append(row)
    rows_by_corpus.pop(ALL, None)
    rows_by_corpus[ALL] = list(range(len(test)))
    scores, counts = {}, {}
    for name, rows in rows_by_corpus.items():
        hypotheses, references = [outputs[i] for i in rows], [test.targets[i] for i in rows]
        scores[name] = score(hypotheses, references, tokenize=tokenize)
        counts[name] = len(rows)
    return Evaluation(system.name, tokenize, scores, counts, outputs, test.targets)


def read_translations(path: Path, sentences: int) -> list[str]:
    """Another system's translations, one a line; blank lines after the last are left out.

    Raises:
        TfmError: the file cannot be read, is not UTF-8, or has more or fewer lines than there are
            sentences
    """
    translations = list(read_lines(path))
    while len(translations) > sentences and not translations[-1].strip():
        translations.pop()
    if len(translations) != sentences:
        raise ExportError(
            f"{len(translations)} translations to compare with a test set of {sentences} "
            "sentences: give one line for each"
        )
    return translations


def paired_bootstrap(evaluation: Evaluation, other: Sequence[str]) -> list[Comparison]:
    """Another system's translations of the same test set against these, in BLEU and in chrF.

    Paired bootstrap resampling (Koehn 2004) by sacrebleu: BOOTSTRAP_SAMPLES times the test set is
    drawn anew, both systems on the same sentences. p is how probable a difference of this size
    would be if the systems were equally good: 1 for equal translations.

    Args:
        other: a translation for every sentence of the test set, in its order
    """
    _, results = PairedTest(
        [("other", list(other)), ("ours", evaluation.hypotheses)],
        {"BLEU": bleu_metric(evaluation.tokenize), "chrF": sacrebleu.CHRF()},
        [evaluation.references],
        test_type="bs",
        n_samples=BOOTSTRAP_SAMPLES,
    )()
    comparisons = [
        Comparison(metric, theirs, ours)
        for metric, (theirs, ours) in results.items()
        if isinstance(theirs, Result) and isinstance(ours, Result)  # else the systems' names
    ]
    if list(other) == evaluation.hypotheses:
        for comparison in comparisons:
            comparison.ours.p_value = 1.0  # sacrebleu takes no difference for a rare one
    return comparisons


def comparison_table(system: str, comparisons: Sequence[Comparison]) -> str:
    """A Markdown table, one row per metric."""
    lines = [f"| all | other | {_cell(system)} | difference | p |", "|---|--:|--:|--:|--:|"]
    for comparison in comparisons:
        other, ours = comparison.other, comparison.ours
        lines.append(
            f"| {comparison.metric} | {other.mean:.1f} ± {other.ci:.1f} | "
            f"{ours.mean:.1f} ± {ours.ci:.1f} | {ours.score - other.score:+.1f} | "
            f"{ours.p_value:.3f} |"
        )
    return "\n".join(lines)


def as_table(evaluations: Sequence[Evaluation]) -> str:
    """A Markdown table, one row per corpus; below it what BLEU of the whole test set is computed
    from, as sacrebleu writes it, and the signatures."""
    first = evaluations[0]
    names = [_cell(evaluation.system) for evaluation in evaluations]
    header = ["corpus", "sentences", *(f"{name} {m}" for name in names for m in ("BLEU", "chrF"))]
    lines = [f"| {' | '.join(header)} |", f"|---|{'--:|' * (len(header) - 1)}"]
    for name, count in first.sentences.items():
        cells = [_cell(name), str(count)]
        for evaluation in evaluations:
            cells += [
                f"{evaluation.scores[name].bleu:.1f}",
                f"{evaluation.scores[name].chrf:.1f}",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    details = [f"{printable(e.system)}: {_in_parts(e.scores[ALL])}" for e in evaluations]
    scores = first.scores[ALL]
    return "\n".join([*lines, "", *details, scores.bleu_signature, scores.chrf_signature])


def _cell(text: str) -> str:
    """Text in a Markdown table."""
    return printable(text).replace("|", "\\|")


def _in_parts(scores: Scores) -> str:
    parts = scores.bleu_parts
    assert parts is not None
    precisions = "/".join(f"{precision:.1f}" for precision in parts.precisions)
    ratio = parts.hypothesis_length / parts.reference_length if parts.reference_length else 0.0
    return (
        f"BLEU = {scores.bleu:.2f} {precisions} (BP = {parts.brevity_penalty:.3f} "
        f"ratio = {ratio:.3f} hyp_len = {parts.hypothesis_length} "
        f"ref_len = {parts.reference_length})"
    )


def as_json(evaluations: Sequence[Evaluation], comparisons: Sequence[Comparison]) -> str:
    """Every score in full, by system and corpus; comparisons are of the first system."""
    systems = {
        evaluation.system: {
            name: {"sentences": evaluation.sentences[name], **asdict(scores)}
            for name, scores in evaluation.scores.items()
        }
        for evaluation in evaluations
    }
    against = [
        {"metric": c.metric, "other": vars(c.other), "ours": vars(c.ours)} for c in comparisons
    ]
    tree = {"systems": systems, "against": against}
    # default: the bootstrap's numbers are numpy's
    return json.dumps(tree, indent=2, ensure_ascii=False, default=float) + "\n"
