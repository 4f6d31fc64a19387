"""Text in, translations out: tokenize, batch by length, search, restore the order."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np

from .bundled import bundled_model
from .config import ModelConfig
from .search import ScoredIds, SearchOptions, search
from .sessions import Model
from .tokenizer import Tokenizer

# Tokens of a batch, counted as sentences x beams x longest source: past this, batches only
# take more memory.
MAX_BATCH_TOKENS = 8192

# What every step of a batch costs beside its sentences, in sentences: the operators themselves and
# reading the weights.
BATCH_COST = 8


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One translation: its text, score (search.py, rule 7), and token ids without EOS."""

    text: str
    score: float
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Translation:
    """What a source sentence became: hypotheses, best first, at least one."""

    source: str
    hypotheses: tuple[Hypothesis, ...]

    @property
    def text(self) -> str:
        """The best hypothesis."""
        return self.hypotheses[0].text


class Translator:
    """A loaded model folder. Translating changes nothing in it: threads may share one.

    Example:
        >>> from tfm.runtime import Translator
        >>> translator = Translator()
        >>> translator.translate("我爱你。").text
        'I love you.'

    Attributes:
        folder: the model folder
        config: its config.json
        choice: device and variant in use, and why
        model: the graphs themselves, for a search of one's own
    """

    def __init__(
        self,
        model_folder: str | os.PathLike[str] | None = None,
        *,
        device: str = "auto",
        variant: str | None = None,
        intra_threads: int = 0,
    ) -> None:
        """Load a model.

        Args:
            model_folder: written by `tfm export`; None is the bundled model
            device: "auto", "cpu" or "cuda"
            variant: "int8", "fp32", ...; None is the best for the device
            intra_threads: threads for each operator; 0 is one for each physical core

        Raises:
            ModelError: the folder or the device cannot be used
            ValueError: an argument is out of its range
        """
        folder = bundled_model() if model_folder is None else Path(model_folder)
        config = ModelConfig.load(folder)
        model = Model.open(
            folder, config, device=device, variant=variant, intra_threads=intra_threads
        )
        self._take(folder, config, model)

    @classmethod
    def over(cls, model_folder: Path, config: ModelConfig, model: Model) -> Self:
        """A translator over a model of that folder that is open already.

        Raises:
            ModelError: the vocabulary cannot be used
        """
        translator = cls.__new__(cls)
        translator._take(model_folder, config, model)
        return translator

    def _take(self, folder: Path, config: ModelConfig, model: Model) -> None:
        self.folder = folder
        self.config = config
        self._tokenizer = Tokenizer(folder, config)
        self.model = model
        self.choice = model.choice

    @property
    def fingerprint(self) -> str:
        """Tells models and their variants apart by what they hold, not by where they lie: the
        name, and a hash of the hashes of the files in use."""
        config = self.config
        facts = [
            asdict(config.tokenizer),
            asdict(config.variants[self.choice.variant]),
            asdict(config.special_ids),
            asdict(config.languages),
            config.decoding.max_source_length,
        ]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return f"{config.name} ({digest[:12]})"

    def translate(
        self,
        sentence: str,
        *,
        beam_size: int | None = None,
        num_hypotheses: int = 1,
        length_penalty: float | None = None,
        max_length: int | None = None,
        source_language: str | None = None,
        target_language: str | None = None,
    ) -> Translation:
        """Translate one sentence; see `translate_batch`."""
        (translation,) = self.translate_batch(
            [sentence],
            beam_size=beam_size,
            num_hypotheses=num_hypotheses,
            length_penalty=length_penalty,
            max_length=max_length,
            source_language=source_language,
            target_language=target_language,
        )
        return translation

    def translate_batch(
        self,
        sentences: Sequence[str],
        *,
        beam_size: int | None = None,
        num_hypotheses: int = 1,
        length_penalty: float | None = None,
        max_length: int | None = None,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        source_language: str | None = None,
        target_language: str | None = None,
    ) -> list[Translation]:
        """Translate any number of sentences, in any mix of lengths.

        A sentence without anything to translate (empty, only spaces) becomes one empty
        hypothesis with score 0, without asking the model.

        Args:
            sentences: one sentence each; one line of a text is the usual unit
            beam_size: hypotheses followed per sentence, 1 is greedy; None is the model's own
            num_hypotheses: hypotheses returned per sentence, at most beam_size
            length_penalty: score = sum / length ** length_penalty; None is the model's own
            max_length: most tokens of a translation; None is the model's own
            max_batch_tokens: sentences x beams x longest source that run together
            source_language: of the sentences, where the model reads several
            target_language: to translate into, where the model writes several

        Returns:
            one Translation for each sentence, in the order given

        Raises:
            ValueError: an argument is out of its range
        """
        if isinstance(sentences, str):
            raise ValueError("sentences is one string: give a list, or call translate()")
        prefix, _ = self.config.languages.prefixes(source_language, target_language)
        sources = self._tokenizer.encode(sentences, prefix)
        places = [place for place, ids in enumerate(sources) if ids]
        found = self.translate_ids(
            [sources[place] for place in places],
            beam_size=beam_size,
            num_hypotheses=num_hypotheses,
            length_penalty=length_penalty,
            max_length=max_length,
            max_batch_tokens=max_batch_tokens,
            target_language=target_language,
        )
        by_place = dict(zip(places, found, strict=True))
        nothing = [ScoredIds((), 0.0)]
        return [
            Translation(sentence, self._texts(by_place.get(place, nothing)))
            for place, sentence in enumerate(sentences)
        ]

    def translate_ids(
        self,
        sources: Sequence[Sequence[int]],
        *,
        beam_size: int | None = None,
        num_hypotheses: int = 1,
        length_penalty: float | None = None,
        max_length: int | None = None,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        target_language: str | None = None,
    ) -> list[list[ScoredIds]]:
        """`translate_batch` without the text: source ids in, target ids and scores out.

        Args:
            sources: token ids of each sentence with EOS at the end, and the tag of a language at
                the beginning where the model wants one, as the trainer feeds them

        Returns:
            for each sentence its hypotheses, best first; ids are without BOS and EOS

        Raises:
            ValueError: an argument is out of its range, or a source is empty
        """
        defaults = self.config.decoding
        options = SearchOptions(
            beam_size=defaults.beam_size if beam_size is None else beam_size,
            num_hypotheses=num_hypotheses,
            length_penalty=(defaults.length_penalty if length_penalty is None else length_penalty),
            max_length=defaults.max_length if max_length is None else max_length,
        )
        if max_batch_tokens < 1:
            raise ValueError(f"max_batch_tokens is {max_batch_tokens}: it must be at least 1")
        if not all(len(ids) for ids in sources):
            raise ValueError("a source has no ids: it needs at least EOS")

        _, first = self.config.languages.prefixes(target=target_language)
        found: list[list[ScoredIds]] = [[] for _ in sources]
        lengths = [len(ids) for ids in sources]
        for places in batches(lengths, max_batch_tokens // options.beam_size):
            results = self._search([sources[place] for place in places], options, first)
            for place, hypotheses in zip(places, results, strict=True):
                found[place] = hypotheses
        return found

    def _search(
        self, sources: Sequence[Sequence[int]], options: SearchOptions, first: list[int]
    ) -> list[list[ScoredIds]]:
        first_ids = np.repeat(np.array(first, np.int64), len(sources)) if first else None
        if self.model.searches_itself:
            return self.model.translate(sources, options, first_ids)
        state = self.model.encode(sources, options.beam_size)
        ids = self.config.special_ids
        return search(
            state,
            len(sources),
            options,
            bos_id=ids.bos_id,
            eos_id=ids.eos_id,
            first_ids=first_ids,
        )

    def _texts(self, hypotheses: list[ScoredIds]) -> tuple[Hypothesis, ...]:
        texts = self._tokenizer.decode([found.ids for found in hypotheses])
        return tuple(
            Hypothesis(text, found.score, found.ids)
            for text, found in zip(texts, hypotheses, strict=True)
        )


def batches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices of sentences that run together, longest first, each index once.

    A batch holds at most max_tokens as sentences x longest, or a single sentence. Short sentences
    beside long ones are mostly padding, and small batches leave the processor idle: of all ways
    to cut the sorted sentences where their lengths change, this is the one with the smallest sum
    of longest x (sentences + BATCH_COST).
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    cuts = [0] if order else []  # where a batch may begin
    for place in range(1, len(order)):
        length, full = lengths[order[place]], place - cuts[-1]
        if length < lengths[order[place - 1]] or (full + 1) * length > max_tokens:
            cuts.append(place)
    cuts.append(len(order))

    costs = [0] * len(cuts)  # of everything from a cut on, at best
    ends = [0] * len(cuts)  # where the batch that begins at a cut then ends
    for first in range(len(cuts) - 2, -1, -1):
        begin, longest = cuts[first], lengths[order[cuts[first]]]
        for last in range(first + 1, len(cuts)):
            size = cuts[last] - begin
            if size * longest > max_tokens and last > first + 1:
                break
            cost = longest * (size + BATCH_COST) + costs[last]
            if last == first + 1 or cost <= costs[first]:
                costs[first], ends[first] = cost, last
    at = 0
    while at < len(cuts) - 1:
        yield order[cuts[at] : cuts[ends[at]]]
        at = ends[at]
