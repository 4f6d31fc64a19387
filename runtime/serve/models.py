"""The models that the service translates with, and the directions that they know."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfm.runtime.async_translator import AsyncTranslator
from tfm.runtime.config import ModelConfig
from tfm.runtime.errors import ModelError
from tfm.runtime.options import DecodingOptions

if TYPE_CHECKING:
    from tfm.runtime.translation import Translation
    from tfm.runtime.translator import Translator

BatchDone = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Direction:
    """From one language to another, in the models' codes."""

    source: str
    target: str


class CountedBatches:
    """A Translator that says how many sentences each of its batches has."""

    def __init__(self, translator: "Translator", options: DecodingOptions, done: BatchDone) -> None:
        """options: what is used where a caller gives none."""
        self.config, self.sessions = translator.config, translator.sessions
        self.options = options
        self._translator, self._done = translator, done

    def source_length(self, sentence: str, **languages: str | None) -> int:
        """See `Translator.source_length`."""
        return self._translator.source_length(sentence, **languages)

    def translate_batch(
        self, sentences: Iterable[str], options: DecodingOptions | None = None, **how: Any
    ) -> "list[Translation]":
        """See `Translator.translate_batch`."""
        translations = self._translator.translate_batch(sentences, options or self.options, **how)
        self._done(len(translations))
        return translations

    def stream(
        self,
        sentence: str,
        options: DecodingOptions | None = None,
        *,
        stop: Callable[[], bool] | None = None,
        **changes: Any,
    ) -> Iterator[str]:
        """See `Translator.stream`."""
        return self._translator.stream(sentence, options or self.options, stop=stop, **changes)


class ServedModel:
    """A model folder, and once it is loaded, its translator."""

    def __init__(self, folder: Path) -> None:
        """Read its config.json.

        Raises:
            ModelError: it is no model folder
        """
        self.folder = folder
        self.config = ModelConfig.load(folder)
        self._translator: Translator | None = None
        self._service: AsyncTranslator | None = None

    @property
    def directions(self) -> list[Direction]:
        """All that it translates."""
        languages = self.config.languages
        return [
            Direction(source, target)
            for source in languages.source_languages
            for target in languages.target_languages
            if source != target
        ]

    @property
    def service(self) -> AsyncTranslator:
        """Whom to ask; the model must be loaded."""
        assert self._service is not None
        return self._service

    @property
    def variant(self) -> str | None:
        """Such as int8; None before it is loaded."""
        return None if self._translator is None else self._translator.choice.variant

    def load(self, changes: Mapping[str, Any], done: BatchDone, **how: Any) -> None:
        """Open it.

        Args:
            changes: decoding options that are not the model's own
            done: is told of each batch how many sentences it had
            how: of Translator

        Raises:
            ModelError: it cannot be used
            ValueError: an option is not for it
        """
        from tfm.runtime.translator import Translator

        translator = Translator(self.folder, **how)
        options = translator.options.changed(**changes)
        options.check_vocabulary(self.config.architecture.target_vocab_size)
        self._service = AsyncTranslator(CountedBatches(translator, options, done))
        self._translator = translator

    def close(self) -> None:
        """Finish the batch that runs, and free the model."""
        if self._service is not None:
            self._service.close()
        if self._translator is not None:
            self._translator.close()


class Models:
    """All models of the service."""

    def __init__(self, folders: Iterable[Path]) -> None:
        """Read what they are; `load` opens them.

        Raises:
            ModelError: one is no model folder, or two are for the same direction
        """
        self.models = [ServedModel(folder) for folder in folders]
        self._by_direction: dict[Direction, ServedModel] = {}
        for model in self.models:
            for direction in model.directions:
                other = self._by_direction.setdefault(direction, model)
                if other is not model:
                    raise ModelError(
                        f"{other.folder} and {model.folder} both translate from"
                        f" {direction.source} to {direction.target}: name one of them"
                    )
        self._loaded = threading.Event()

    @property
    def loaded(self) -> bool:
        """Whether all are ready."""
        return self._loaded.is_set()

    @cached_property
    def directions(self) -> dict[Direction, ServedModel]:
        """What each is translated with."""
        return dict(self._by_direction)

    @cached_property
    def sources(self) -> list[str]:
        """Languages that can be translated from, in the order of the models."""
        return list(dict.fromkeys(direction.source for direction in self._by_direction))

    @cached_property
    def targets(self) -> list[str]:
        """Languages that can be translated to."""
        return list(dict.fromkeys(direction.target for direction in self._by_direction))

    @cached_property
    def languages(self) -> list[str]:
        """All languages, in the order of the alphabet."""
        return sorted({*self.sources, *self.targets})

    def targets_of(self, source: str) -> list[str]:
        """What a language can be translated to."""
        return sorted(d.target for d in self._by_direction if d.source == source)

    def find(self, source: str, target: str) -> ServedModel | None:
        """The model for a direction; None if there is none."""
        return self._by_direction.get(Direction(source, target))

    def load(self, changes: Mapping[str, Any], done: BatchDone, **how: Any) -> None:
        """Open all; see `ServedModel.load`."""
        for model in self.models:
            model.load(changes, done, **how)
        self._loaded.set()

    def close(self) -> None:
        """Free all."""
        for model in self.models:
            model.close()


def model_names(models: Sequence[ServedModel]) -> str:
    """For a line that says what is served."""
    return ", ".join(model.config.name for model in models)
