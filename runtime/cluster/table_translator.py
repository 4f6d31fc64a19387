"""`TableTranslator`: a callable that translates a column of tables, on Ray, Spark and Dask."""

import logging
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tfm.runtime.bundled import is_bundled_name
from tfm.runtime.documents import parse_text
from tfm.runtime.documents.plain_text import TextDocument
from tfm.runtime.errors import CancelledError, ModelError, TfmError
from tfm.runtime.options import DecodingOptions
from tfm.runtime.translation import Translation
from tfm.runtime.translator import Translator

from .shared_translators import HowToOpen, shared_translator
from .tables import Texts, column_of, is_missing, with_columns

logger = logging.getLogger(__name__)

LONGEST_ERROR = 300  # characters of an error in a table


class TableTranslator:
    """Called with a table, gives a table of the same kind with a column of translations and a
    column of errors; called with an iterator of tables, as Spark does, an iterator of them.

    Tables are dicts of numpy arrays or lists, pandas DataFrames, pyarrow Tables and lists of dicts.
    A list of texts, an array or a Series is one column, and becomes the translations alone.

    Rows stay in their order, and none is lost: what cannot be translated has None as translation
    and says why in the column of errors. None (or NaN) becomes None, and empty text stays empty.
    Where a sentence was cut, because it is longer than the model reads or writes, the translation
    stands beside an error that says so. The same text always has the same translation, whatever is
    beside it, so a task that is run again gives the same.

    It is pickled as its arguments. The model is loaded at the first call in a process, and all
    objects with the same model share it.

    Example:
        >>> from tfm.runtime.cluster import TableTranslator
        >>> TableTranslator(column="zh")({"zh": ["我爱你。", None]})
        {'zh': ['我爱你。', None], 'translation': ['I love you.', None], 'error': [None, None]}
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        column: str = "text",
        output_column: str = "translation",
        error_column: str = "error",
        split: bool = True,
        source_language: str | None = None,
        target_language: str | None = None,
        device: str = "auto",
        variant: str | None = None,
        intra_threads: int = 1,
        **options: Any,
    ) -> None:
        """Nothing is loaded here.

        Args:
            model: a model folder that every machine sees under the same path, or a bundled model:
                "zh-en" (None) or "en-zh"
            column: of the texts
            output_column, error_column: that the table gets, or that are replaced
            split: translate sentence by sentence and put the texts together again, so that
                nothing of a long text is cut off; False takes each text as one sentence
            source_language, target_language: where the model has several
            device, variant, intra_threads: as for Translator; as many threads as the cluster's
                scheduler reserves for an actor or a task
            **options: decoding options, such as beam_size=1

        Raises:
            ValueError: an option is out of its range, or two columns have one name
            TypeError: there is no such option
        """
        names = (column, output_column, error_column)
        if len(set(names)) < len(names):
            raise ValueError(f"columns are {', '.join(map(repr, names))}: each needs its own name")
        DecodingOptions().changed(**options)
        self.column, self.output_column, self.error_column = names
        self._how = HowToOpen(_everywhere(model), device, variant, intra_threads)
        self._split = split
        self._languages = {"source_language": source_language, "target_language": target_language}
        self._options: dict[str, Any] = options

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = {
            "column": self.column,
            "output_column": self.output_column,
            "error_column": self.error_column,
            "split": self._split,
            "device": self._how.device,
            "variant": self._how.variant,
            "intra_threads": self._how.intra_threads,
            **self._languages,
            **self._options,
        }
        return partial(type(self), **arguments), (self._how.model,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._how.model!r}, column={self.column!r})"

    def __call__(self, table: Any) -> Any:
        """The table with its translations; of an iterator, each of its tables.

        Raises:
            ModelError: the model cannot be loaded
            ValueError: the model does not have the languages
            KeyError: there is no such column
            TypeError: it is no table that is known
        """
        if isinstance(table, Iterator):
            return map(self, table)
        translations, errors = self.translate_texts(column_of(table, self.column))
        return with_columns(table, {self.output_column: translations, self.error_column: errors})

    def meta(self, table: Any) -> Any:
        """The empty table that calls with such tables give: what Dask calls meta. No model is
        loaded."""
        empty = table[:0]
        column_of(empty, self.column)
        return with_columns(empty, {self.output_column: [], self.error_column: []})

    def translator(self) -> Translator:
        """The translator in use, which is loaded if this process has not done so before.

        Raises:
            ModelError: it cannot be loaded
        """
        return shared_translator(self._how)

    def translate_texts(self, texts: Sequence[Any]) -> tuple[Texts, Texts]:
        """A translation and an error, or None for either, for each text.

        Raises:
            ModelError: the model cannot be loaded
            ValueError: the model does not have the languages
        """
        translator = self.translator()
        translator.config.languages.prefixes(**_sides(self._languages))
        errors = [_what_is_wrong(text) for text in texts]
        documents = {
            index: self._document(translator, text)
            for index, text in enumerate(texts)
            if errors[index] is None and not is_missing(text)
        }
        sentences = dict.fromkeys(
            segment.text for document in documents.values() for segment in document.segments
        )
        found = self._translate(translator, list(sentences))
        results: list[str | None] = [None] * len(texts)
        for index, document in documents.items():
            translations = [found[segment.text] for segment in document.segments]
            failed = [result for result in translations if isinstance(result, str)]
            if failed:
                errors[index] = failed[0]
                continue
            done = [result for result in translations if not isinstance(result, str)]
            results[index] = document.assemble(done)
            errors[index] = self._what_was_cut(translator, done)
        if count := sum(error is not None for error in errors):
            logger.warning("%d of %d texts have an error", count, len(texts))
        return results, errors

    def _document(self, translator: Translator, text: str) -> TextDocument:
        languages = translator.config.languages
        source = self._languages["source_language"] or languages.source
        target = self._languages["target_language"] or languages.target
        if self._split:
            return parse_text(text, source, target)
        return parse_text(text, source, target, split=_whole)

    def _translate(
        self, translator: Translator, sentences: Sequence[str]
    ) -> dict[str, Translation | str]:
        """The translation of each sentence, or the error: those that fail are found by halves."""
        if not sentences:
            return {}
        try:
            how = {**self._languages, **self._options}
            translations = translator.translate_batch(sentences, with_scores=False, **how)
        except (ModelError, CancelledError):
            raise
        except (TfmError, ValueError) as error:
            if len(sentences) == 1:
                return {sentences[0]: str(error)[:LONGEST_ERROR]}
            half = len(sentences) // 2
            return {
                **self._translate(translator, sentences[:half]),
                **self._translate(translator, sentences[half:]),
            }
        return dict(zip(sentences, translations, strict=True))

    def _what_was_cut(
        self, translator: Translator, translations: Sequence[Translation]
    ) -> str | None:
        """Says so where a sentence is longer than the model reads, or its translation than it may
        write."""
        limit = translator.config.max_source_length
        for translation in translations:
            if translation.hypotheses[0].truncated:
                return "cut: the translation of a sentence reached max_length"
            if 4 * len(translation.source) < limit:  # bytes, and so tokens, of a character
                continue
            length = translator.source_length(translation.source, **self._languages)
            if length >= limit:
                return f"cut: a sentence has {length} tokens or more, the model reads {limit}"
        return None


def _everywhere(model: str | os.PathLike[str] | None) -> str | None:
    """The model as every process finds it, whatever its working directory is."""
    if model is None or is_bundled_name(model):
        return None if model is None else str(model)
    return str(Path(model).absolute())


def _sides(languages: dict[str, str | None]) -> dict[str, str | None]:
    return {name.removesuffix("_language"): language for name, language in languages.items()}


def _what_is_wrong(text: object) -> str | None:
    """Why a value cannot be translated; None if it can, or is missing."""
    if is_missing(text):
        return None
    if not isinstance(text, str):
        return f"{repr(text)[:40]} is no text but {type(text).__name__}"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "it holds half of a surrogate pair: it is no valid text"
    return None


def _whole(text: str) -> list[tuple[int, int]]:
    """All of a text as one sentence, without the spaces around it."""
    begin = len(text) - len(text.lstrip())
    return [(begin, len(text.rstrip()))] if text.strip() else []
