"""What a translation is: its hypotheses, with their scores and tokens."""

from dataclasses import dataclass

from .alignment import Alignment


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One translation.

    Attributes:
        text: what it says
        score: the sum of its log-probabilities, normalized by length as search.py's rule "score"
            says; NaN where it was not wanted
        tokens: target ids, without BOS, the language's token and EOS
        truncated: it reached max_length, so its end is probably missing
        timed_out: the time was over before the search: it may be unfinished, or empty
    """

    text: str
    score: float
    tokens: tuple[int, ...]
    truncated: bool = False
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Translation:
    """What a source sentence became.

    Attributes:
        source: the sentence
        hypotheses: best first, at least one
        doubts: names of the signs that the best one is wrong (doubts.py), where they were asked for
        retried: it was searched for again, with a penalty, because the first one was empty or
            repeated itself; where doubts were asked for
        unmet: phrases that the best one should contain and does not: terms and placeholders that
            were asked for
        alignment: of the best one's words with the sentence's, where it was asked for
    """

    source: str
    hypotheses: tuple[Hypothesis, ...]
    doubts: tuple[str, ...] = ()
    retried: bool = False
    unmet: tuple[str, ...] = ()
    alignment: Alignment | None = None

    @property
    def text(self) -> str:
        """The best hypothesis."""
        return self.hypotheses[0].text


@dataclass(frozen=True, slots=True)
class Alternative(Hypothesis):
    """A translation that goes on in another way after a target prefix.

    Attributes:
        probability: of the token that follows the prefix
    """

    probability: float = 0.0
