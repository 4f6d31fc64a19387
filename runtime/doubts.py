"""Signs that a translation is wrong, found without a reference.

Each is a number, the higher the more doubtful, and a translation is doubted where the number
reaches its limit. tests/models/score_doubts.py measures how well each tells bad translations
from good ones.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from .options import DecodingOptions
from .scripts import is_in_other_script
from .translation import Hypothesis, Translation

_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_IN_WORDS = re.compile(
    r"[一二两三四五六七八九十百千万亿]|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
    r"|\w+teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand|million|first|second"
    r"|third|half|twice|a|an)\b",
    re.IGNORECASE,
)
_SPELLED_OUT = 4  # digits, of numbers that are also written in words
_LONGEST_PERIOD = 8  # tokens of what a loop repeats


@dataclass(frozen=True, slots=True)
class TranslatedSentence:
    """What doubts are about.

    Attributes:
        source: the sentence
        hypothesis: its translation
        source_length: tokens of the source
        target_language: such as en
        length_penalty: that the hypothesis' score was made with
        unattended: the share of source tokens that no token of the translation looks at much
            (alignment.unattended_share); NaN where it is not known
    """

    source: str
    hypothesis: Hypothesis
    source_length: int
    target_language: str
    length_penalty: float
    unattended: float = math.nan


@dataclass(frozen=True, slots=True)
class Doubt:
    """One sign.

    Attributes:
        meaning: what is the matter, for users
        measure: how doubtful, NaN where it cannot be said
        limit: from here on it counts
    """

    meaning: str
    measure: Callable[[TranslatedSentence], float]
    limit: float


def find_doubts(
    translation: Translation,
    source_length: int,
    target_language: str,
    options: DecodingOptions,
    unattended: float = math.nan,
) -> tuple[str, ...]:
    """Names of the doubts about the best hypothesis, in the order of DOUBTS.

    Args:
        source_length: tokens of the source
        target_language: such as en
        options: that it was made with
        unattended: as of TranslatedSentence
    """
    sentence = TranslatedSentence(
        translation.source,
        translation.hypotheses[0],
        source_length,
        target_language,
        options.length_penalty,
        unattended,
    )
    return tuple(name for name, doubt in DOUBTS.items() if doubt.measure(sentence) >= doubt.limit)


def has_failed(source: str, hypothesis: Hypothesis) -> bool:
    """Whether it is worth searching again: the translation is empty, or repeats itself."""
    sentence = TranslatedSentence(source, hypothesis, 0, "", 0.0)
    return any(DOUBTS[name].measure(sentence) >= DOUBTS[name].limit for name in ("empty", "loop"))


def with_penalty(options: DecodingOptions) -> DecodingOptions:
    """The options for a second search: nothing of three tokens twice, and at least one token."""
    least = min(max(1, options.min_length), options.max_length)
    return options.changed(
        no_repeat_ngram_size=options.no_repeat_ngram_size or 3,
        repetition_penalty=max(options.repetition_penalty, 1.1),
        min_length=least,
    )


def _truncated(sentence: TranslatedSentence) -> float:
    return float(sentence.hypothesis.truncated)


def _empty(sentence: TranslatedSentence) -> float:
    return float(bool(sentence.source.strip()) and not sentence.hypothesis.text.strip())


def _loop(sentence: TranslatedSentence) -> float:
    """The most tokens that a repeated sequence of up to eight adds to the one before it."""
    tokens = sentence.hypothesis.tokens
    longest = 0
    for period in range(1, _LONGEST_PERIOD + 1):
        run = 0
        for index in range(period, len(tokens)):
            run = run + 1 if tokens[index] == tokens[index - period] else 0
            if run >= period:  # it has come once more as a whole
                longest = max(longest, run)
    return float(longest)


def _other_script(sentence: TranslatedSentence) -> float:
    return float(is_in_other_script(sentence.hypothesis.text, sentence.target_language))


def _numbers(sentence: TranslatedSentence) -> float:
    """How many numbers in digits are on one side only, short ones not counted where the other side
    has numbers in words."""
    texts = [
        unicodedata.normalize("NFKC", text) for text in (sentence.source, sentence.hypothesis.text)
    ]
    source, target = (
        Counter(re.sub(r"\D", "", number) for number in _NUMBER.findall(text)) for text in texts
    )
    if not source:  # words may have become digits
        return 0.0
    alone = [(number, texts[1]) for number in (source - target).elements()]
    alone += [(number, texts[0]) for number in (target - source).elements()]
    return float(
        sum(
            len(number) > _SPELLED_OUT or _IN_WORDS.search(other) is None for number, other in alone
        )
    )


def _length(sentence: TranslatedSentence) -> float:
    """How many times longer one side is than the other, in tokens; the few that any short sentence
    may have more do not count."""
    source, target = sentence.source_length + 3, len(sentence.hypothesis.tokens) + 3
    return max(source / target, target / source)


def _probability(sentence: TranslatedSentence) -> float:
    """Minus the mean log-probability of its tokens, EOS among them."""
    length = len(sentence.hypothesis.tokens) + 1
    score: float = sentence.hypothesis.score * length**sentence.length_penalty / length
    return -score if math.isfinite(score) else math.nan


DOUBTS = {
    "truncated": Doubt("it reached max_length", _truncated, 1),
    "empty": Doubt("nothing was written", _empty, 1),
    "loop": Doubt("it repeats itself", _loop, 6),
    "script": Doubt("it is not in the script of the target language", _other_script, 1),
    "numbers": Doubt("the numbers differ", _numbers, 1),
    "length": Doubt("it is much longer or shorter than the sentence", _length, 2.0),
    "attention": Doubt(
        "it looks at little of the sentence", lambda sentence: sentence.unattended, 0.7
    ),
    "probability": Doubt("the model gives it a low probability", _probability, 1.0),
}
