"""What a translation must contain: terms of a glossary, and placeholders of its source."""

from collections.abc import Mapping
from dataclasses import dataclass

from .placeholders import PlaceholderPatterns
from .terms import Terms, contains_phrase


@dataclass(frozen=True, slots=True)
class RequiredPhrases:
    """Finds what is required, and whether it is there.

    Attributes:
        terms: None is no glossary
        placeholders: None is none
    """

    terms: Terms | None = None
    placeholders: PlaceholderPatterns | None = None

    def lacking(self, source: str, target: str) -> tuple[str, ...]:
        """Phrases that a translation should contain and does not, each once."""
        lacking: dict[str, None] = {}
        if self.terms is not None:
            required = (term.target for term in self.terms.find(source))
            lacking |= dict.fromkeys(p for p in required if not contains_phrase(target, p))
        if self.placeholders is not None:
            lost = self.placeholders.lacking(source, target)
            lacking |= dict.fromkeys(placeholder.text for placeholder in lost)
        return tuple(lacking)

    def required(self, source: str) -> tuple[str, ...]:
        """All phrases that a translation should contain, each once."""
        return self.lacking(source, "")


def required_phrases(
    terms: Mapping[str, str] | Terms | None, placeholders: PlaceholderPatterns | None
) -> RequiredPhrases | None:
    """What callers ask for; None where that is nothing.

    Raises:
        ValueError: a term is no text, or one of both is of another type
    """
    if terms is not None and not isinstance(terms, Mapping | Terms):
        raise ValueError(
            f"terms is {terms!r}: give Terms, or a mapping from source to target phrases"
        )
    if placeholders is not None and not isinstance(placeholders, PlaceholderPatterns):
        raise ValueError(
            f"placeholders is {placeholders!r}: give PlaceholderPatterns(kinds, patterns), or None"
        )
    glossary = Terms(terms) if isinstance(terms, Mapping) else terms
    if not glossary and placeholders is None:
        return None
    return RequiredPhrases(glossary or None, placeholders)
