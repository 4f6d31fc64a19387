"""Text to token ids and back, with SentencePiece; normalization is SentencePiece's own."""

import logging
from collections.abc import Sequence
from pathlib import Path

import sentencepiece

from . import run_gate
from .capitals import fold_capitals
from .config import ModelConfig, SpecialIds, utf8_path
from .errors import ModelError
from .subwords import SubwordModel, split_language_tag
from .token_texts import TokenTexts

_CHARACTERS_PER_TOKEN = 32  # more than a sentence has, unless it is mostly spaces

_WORD_START = "▁"
_OPENING = "("  # after which no space follows
_INCOMPLETE = "\ufffd"  # what bytes decode to that are no whole character yet

logger = logging.getLogger(__name__)


class Tokenizer:
    """The two SentencePiece models of a model folder.

    Raises:
        ModelError: a file is missing, damaged, or not a SentencePiece model
    """

    def __init__(self, folder: Path, config: ModelConfig) -> None:
        files = config.tokenizer
        self._target_path = folder / files.target.path
        self._source = _load(files.source.verify(folder), config.special_ids)
        self._target = (
            self._source
            if files.target == files.source
            else _load(files.target.verify(folder), config.special_ids)
        )
        languages = config.languages
        self._target_texts: TokenTexts | None = None
        self._silent_ids = frozenset(languages.language_ids.values())
        self._language_ids = languages.language_ids if languages.language_token == "source" else {}
        self._unk_id = config.special_ids.unk_id
        self._end = [config.special_ids.eos_id] if config.source_eos else []
        self._source_size = config.architecture.source_vocab_size
        self._target_size = config.architecture.target_vocab_size
        self._max_length = config.max_source_length
        self._fold_capitals = config.fold_capitals
        if len(self._target) < self._target_size:
            raise ModelError(
                f"{self._target_path} has {len(self._target)} tokens, the model writes"
                f" {self._target_size}: copy or export the model again"
            )

    def encode(self, sentences: Sequence[str], prefix: Sequence[int] = ()) -> list[list[int]]:
        """Source ids of each sentence: prefix, pieces and, as the model was trained, EOS; [] for a
        sentence without pieces.

        A sentence of more than max_source_length pieces is cut, with one warning per call. Where
        the source begins with the token of the language to write, `>>fra<<` at the beginning of a
        sentence chooses that language instead of `prefix`.

        Raises:
            UnknownLanguageError: a sentence begins with the tag of another language
        """
        with run_gate.gate.run():
            return self._encode([self._beginning(sentence) for sentence in sentences], prefix)

    def _encode(self, sentences: list[str], prefix: Sequence[int]) -> list[list[int]]:
        prefixes = [list(prefix)] * len(sentences)
        if self._language_ids:
            for index, sentence in enumerate(sentences):
                token, sentences[index] = split_language_tag(sentence, self._language_ids)
                prefixes[index] = prefixes[index] if token is None else [token]
        encoded = self._source.encode(sentences, self._source_size, self._unk_id)
        cut = sum(len(ids) > self._max_length for ids in encoded)
        if cut:
            logger.warning(
                "%d of %d sentences cut to %d tokens: split long lines into sentences",
                cut,
                len(encoded),
                self._max_length,
            )
        return [
            [*own, *ids[: self._max_length], *self._end] if ids else []
            for own, ids in zip(prefixes, encoded, strict=True)
        ]

    def _beginning(self, sentence: str) -> str:
        """A sentence as it is read, and enough of a very long one: what lies behind
        max_source_length pieces is cut."""
        if self._fold_capitals:
            sentence = fold_capitals(sentence)
        size = _CHARACTERS_PER_TOKEN * self._max_length
        while size < len(sentence):
            # Twice as many, so that the pieces before the cut are those of the whole sentence.
            (ids,) = self._source.encode([sentence[:size]], self._source_size, self._unk_id)
            if len(ids) > 2 * self._max_length:
                return sentence[:size]
            size *= 4
        return sentence

    def source_spans(self, sentence: str, ids: Sequence[int]) -> list[tuple[int, int]]:
        """Where in the sentence each of its source ids comes from: characters from and to.

        A language's token has an empty place at the beginning, EOS one at the end.
        """
        text = self._beginning(sentence)
        start = 0
        if self._language_ids:
            start = len(text) - len(split_language_tag(text, self._language_ids)[1])
        with run_gate.gate.run():
            places = self._source.spans(text[start:])[: self._max_length]
        before, end = len(ids) - len(places) - len(self._end), (len(sentence), len(sentence))
        moved = [(start + begin, start + finish) for begin, finish in places]
        return [(0, 0)] * before + moved + [end] * len(self._end)

    def target_text_spans(self, text: str) -> list[tuple[int, int]]:
        """Where in a target text each of the tokens stands that it is divided into."""
        with run_gate.gate.run():
            return self._target.spans(text)

    def target_spans(self, ids: Sequence[int]) -> list[tuple[int, int]]:
        """Where in the text that target ids (without BOS and EOS) decode to each of them stands.

        Tokens that only together make a character have the same place.
        """
        texts = self.decode([ids[: count + 1] for count in range(len(ids))])
        places: list[tuple[int, int]] = []
        start = 0
        for count, text in enumerate(texts):
            if text.endswith(_INCOMPLETE) and count + 1 < len(texts):
                continue
            places += [(start, max(start, len(text)))] * (count + 1 - len(places))
            start = max(start, len(text))
        return places

    def encode_target(self, texts: Sequence[str]) -> list[list[int]]:
        """Target ids of whole translations; no BOS, no EOS."""
        with run_gate.gate.run():
            return self._target.encode(texts, self._target_size, self._unk_id)

    def spellings(self, phrase: str) -> tuple[tuple[int, ...], ...]:
        """The token sequences that write a phrase: with a space before it, and without one.

        Those that do not decode to the phrase itself are left out; there may be none.
        """
        spaced, opened = self.encode_target([phrase, _OPENING + phrase])
        names = self.pieces(spaced, of_source=False)
        found = [spaced[1:] if names[:1] == (_WORD_START,) else [], spaced]
        text = ""
        for count, name in enumerate(self.pieces(opened, of_source=False), start=1):
            text += name
            if text.removeprefix(_WORD_START) == _OPENING:
                found.append(opened[count:])
        unique = dict.fromkeys(tuple(ids) for ids in found if ids)
        texts = self.decode(list(unique))
        return tuple(ids for ids, text in zip(unique, texts, strict=True) if text == phrase)

    def target_names(self) -> tuple[str, ...]:
        """The names of all target tokens."""
        return self.pieces(range(self._target_size), of_source=False)

    def pieces(self, ids: Sequence[int], *, of_source: bool) -> tuple[str, ...]:
        """The names of tokens, "▁" being a space."""
        side = self._source if of_source else self._target
        return tuple(side.names(ids))

    def encode_target_prefix(self, text: str) -> list[int]:
        """Target ids of the text that a translation is to begin with; no BOS, no EOS."""
        return self._target.encode([text], self._target_size, self._unk_id)[0] if text else []

    def target_texts(self) -> TokenTexts:
        """What every target token says; made at the first call."""
        if self._target_texts is None:
            texts = self._target.texts(self._target_size)
            self._target_texts = TokenTexts(texts, silent=self._silent_ids)
        return self._target_texts

    def decode(self, hypotheses: Sequence[Sequence[int]]) -> list[str]:
        """Text of each list of target ids (without BOS and EOS)."""
        try:
            with run_gate.gate.run():
                return [self._target.decode(ids) for ids in hypotheses]
        except (IndexError, UnicodeDecodeError) as error:
            raise ModelError(
                f"the model wrote a token that {self._target_path} does not have, or whose piece"
                " is no text: copy or export the model again"
            ) from error


def _check_ids(
    processor: sentencepiece.SentencePieceProcessor, path: Path, expected: SpecialIds
) -> None:
    """Raise ModelError when a vocabulary contradicts config.json. Its BOS need not be the model's:
    M2M100 begins with EOS, Marian with padding."""
    for name in ("eos_id", "pad_id", "unk_id"):
        found = getattr(processor, name)()
        if found not in (-1, getattr(expected, name)):  # -1: it does not say
            raise ModelError(
                f"{path} has {name} {found}, config.json {getattr(expected, name)}: copy or export"
                " the model again"
            )


def _load(path: Path, expected: SpecialIds) -> SubwordModel:
    try:
        processor = sentencepiece.SentencePieceProcessor(model_file=utf8_path(path))
        pieces = SubwordModel(processor)
    except (OSError, RuntimeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not a SentencePiece model: {error}") from error
    _check_ids(processor, path, expected)
    return pieces
