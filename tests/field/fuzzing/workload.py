"""Requests of many sizes, options and languages, and what each must be answered alone."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

OPTION_SETS: tuple[dict[str, Any], ...] = (
    {},
    {"beam_size": 1},
    {"beam_size": 2, "length_penalty": 0.6},
    {"num_hypotheses": 3},
    {"min_length": 5, "beam_size": 1},
    {"suppress_ids": (5, 17), "suppress_unk": True},
    {"suppress_texts": ("on", " t"), "beam_size": 2},
    {"max_length_factor": 0.7},
    {"repetition_penalty": 1.3, "beam_size": 2},
    {"no_repeat_ngram_size": 2, "beam_size": 2},  # by steps: the graph does not know it
    {"target_prefix": "one", "beam_size": 1},
)
MAX_LENGTHS = (1, 8, 24)
LARGEST_BATCH = 16
TOLERANCE = 1e-4  # of a score; the texts must be equal


@dataclass(frozen=True)
class Subject:
    """A translator, the language to ask it for (None: its own), and sentences for it."""

    translator: Any
    language: str | None
    sentences: Sequence[str]


@dataclass(frozen=True)
class Request:
    """What one thread asks: which subject, which of its sentences, and how."""

    subject: int
    sentences: tuple[int, ...]
    options: int
    max_length: int


Alone = dict[tuple[int, int, int, int], list[tuple[str, float]]]


class Workload:
    """Subjects, and the answers to each of their sentences alone.

    Attributes:
        alone: text and score of each hypothesis, by subject, sentence, options, max_length
    """

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self._subjects = subjects
        self.alone: Alone = {
            (number, index, options, max_length): self._ask(number, [index], options, max_length)[0]
            for number, subject in enumerate(subjects)
            for index in range(len(subject.sentences))
            for options in range(len(OPTION_SETS))
            for max_length in MAX_LENGTHS
        }

    def draw(self, rng: random.Random) -> Request:
        """A request; half of them are a single sentence, as from a web page."""
        number = rng.randrange(len(self._subjects))
        count = 1 if rng.random() < 0.5 else rng.randint(2, LARGEST_BATCH)
        sentences = rng.choices(range(len(self._subjects[number].sentences)), k=count)
        options = rng.randrange(len(OPTION_SETS))
        return Request(number, tuple(sentences), options, rng.choice(MAX_LENGTHS))

    def difference(self, request: Request) -> str | None:
        """Ask, and say in words what differs from the answers alone; None if nothing does."""
        answers = self._ask(request.subject, request.sentences, request.options, request.max_length)
        for index, answer in zip(request.sentences, answers, strict=True):
            key = (request.subject, index, request.options, request.max_length)
            expected = self.alone[key]
            same = len(answer) == len(expected) and all(
                text == other and abs(score - other_score) <= TOLERANCE
                for (text, score), (other, other_score) in zip(answer, expected, strict=True)
            )
            if not same:
                return f"{request}: {answer}, alone {expected}"
        return None

    def _ask(
        self, number: int, sentences: Sequence[int], options: int, max_length: int
    ) -> list[list[tuple[str, float]]]:
        changes = dict(OPTION_SETS[options])
        if changes.get("min_length", 0) > max_length:
            changes["min_length"] = max_length
        subject = self._subjects[number]
        translations = subject.translator.translate_batch(
            [subject.sentences[index] for index in sentences],
            target_language=subject.language,
            max_length=max_length,
            **changes,
        )
        return [[(h.text, h.score) for h in each.hypotheses] for each in translations]
