"""Text in, translations out: tokenize, batch by length, search, restore the order."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .bundled import bundled_model
from .config import ModelConfig
from .model import Model
from .search import ScoredIds, SearchOptions, search
from .tokenizer import Tokenizer

# Tokens of a batch, counted as sentences x beams x longest source: past this, batches only
# take more memory.
MAX_BATCH_TOKENS = 8192


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
        self.folder = bundled_model() if model_folder is None else Path(model_folder)
        self.config = ModelConfig.load(self.folder)
        self._tokenizer = Tokenizer(self.folder, self.config)
        self.model = Model.open(
            self.folder,
            self.config,
            device=device,
            variant=variant,
            intra_threads=intra_threads,
        )
        self.choice = self.model.choice

    def translate(
        self,
        sentence: str,
        *,
        beam_size: int | None = None,
        num_hypotheses: int = 1,
        length_penalty: float | None = None,
        max_length: int | None = None,
    ) -> Translation:
        """Translate one sentence; see `translate_batch`."""
        (translation,) = self.translate_batch(
            [sentence],
            beam_size=beam_size,
            num_hypotheses=num_hypotheses,
            length_penalty=length_penalty,
            max_length=max_length,
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

        Returns:
            one Translation for each sentence, in the order given

        Raises:
            ValueError: an argument is out of its range
        """
        if isinstance(sentences, str):
            raise ValueError("sentences is one string: give a list, or call translate()")
        sources = self._tokenizer.encode(sentences)
        places = [place for place, ids in enumerate(sources) if ids]
        found = self.translate_ids(
            [sources[place] for place in places],
            beam_size=beam_size,
            num_hypotheses=num_hypotheses,
            length_penalty=length_penalty,
            max_length=max_length,
            max_batch_tokens=max_batch_tokens,
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
    ) -> list[list[ScoredIds]]:
        """`translate_batch` without the text: source ids in, target ids and scores out.

        Args:
            sources: token ids of each sentence with EOS at the end, as the trainer feeds them

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

        found: list[list[ScoredIds]] = [[] for _ in sources]
        lengths = [len(ids) for ids in sources]
        for places in batches(lengths, max_batch_tokens // options.beam_size):
            results = self._search([sources[place] for place in places], options)
            for place, hypotheses in zip(places, results, strict=True):
                found[place] = hypotheses
        return found

    def _search(
        self, sources: Sequence[Sequence[int]], options: SearchOptions
    ) -> list[list[ScoredIds]]:
        if self.model.searches_itself:
            return self.model.translate(sources, options)
        state = self.model.encode(sources, options.beam_size)
        ids = self.config.special_ids
        return search(state, len(sources), options, bos_id=ids.bos_id, eos_id=ids.eos_id)

    def _texts(self, hypotheses: list[ScoredIds]) -> tuple[Hypothesis, ...]:
        texts = self._tokenizer.decode([found.ids for found in hypotheses])
        return tuple(
            Hypothesis(text, found.score, found.ids)
            for text, found in zip(texts, hypotheses, strict=True)
        )


def batches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices of sentences that run together, longest first, each index once.

    A batch holds at most max_tokens as sentences x longest, or a single sentence.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    start = 0
    while start < len(order):
        size = max(1, max_tokens // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size
