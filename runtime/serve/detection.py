"""Which language a text is in, by its script: as far as the languages of the models differ in
that."""

from collections.abc import Sequence
from dataclasses import dataclass

from tfm.runtime.scripts import count_units, scripts_of

MOST_CHARACTERS = 2000  # that are looked at


@dataclass(frozen=True, slots=True)
class DetectedLanguage:
    """A language that a text may be in.

    Attributes:
        language: its code
        confidence: 0 to 100: the share of the text's words that are in its script
    """

    language: str
    confidence: float


def detect_languages(text: str, languages: Sequence[str]) -> list[DetectedLanguage]:
    """The languages that a text may be in, the likeliest first; nothing if it has no word in any
    of their scripts.

    A word counts one, and so does a character of a script without spaces. Of languages that come
    out equal, those with fewer scripts are first, then those that are named first.
    """
    sample = text[:MOST_CHARACTERS]
    counts = {language: count_units(sample, language) for language in languages}
    total = count_units(sample)
    found = [language for language in languages if counts[language]]
    found.sort(key=lambda language: (-counts[language], len(scripts_of(language))))
    return [
        DetectedLanguage(language, round(100 * counts[language] / total, 1)) for language in found
    ]
