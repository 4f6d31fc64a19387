"""Text to token ids and back, with SentencePiece; normalization is SentencePiece's own."""

import logging
from collections.abc import Sequence
from pathlib import Path

import sentencepiece

from . import run_gate
from .config import ModelConfig, SpecialIds
from .errors import ModelError

_CHARACTERS_PER_TOKEN = 32  # more than a sentence has, unless it is mostly spaces

logger = logging.getLogger(__name__)


class Tokenizer:
    """The two SentencePiece models of a model folder.

    Raises:
        ModelError: a file is missing, damaged, or not a SentencePiece model
    """

    def __init__(self, folder: Path, config: ModelConfig) -> None:
        files = config.tokenizer
        self._target_path = folder / files.target.path
        self._source = _load(files.source.verify(folder))
        self._target = (
            self._source if files.target == files.source else _load(files.target.verify(folder))
        )
        for processor, file in ((self._source, files.source), (self._target, files.target)):
            _check_ids(processor, folder / file.path, config.special_ids)
        self._eos_id, self._unk_id = config.special_ids.eos_id, config.special_ids.unk_id
        self._source_size = config.architecture.source_vocab_size
        self._target_size = config.architecture.target_vocab_size
        self._max_length = config.max_source_length
        if self._target.get_piece_size() < self._target_size:
            raise ModelError(
                f"{self._target_path} has {self._target.get_piece_size()} tokens, the model writes"
                f" {self._target_size}: copy or export the model again"
            )

    def encode(self, sentences: Sequence[str], prefix: Sequence[int] = ()) -> list[list[int]]:
        """Source ids of each sentence: prefix, pieces and EOS; [] for a sentence without pieces.

        A sentence of more than max_source_length pieces is cut, with one warning per call.
        """
        with run_gate.gate.run():
            return self._encode([self._beginning(sentence) for sentence in sentences], prefix)

    def _encode(self, sentences: list[str], prefix: Sequence[int]) -> list[list[int]]:
        encoded: list[list[int]] = self._source.encode(sentences, out_type=int)
        for index, ids in enumerate(encoded):
            if self._unk_id in ids or max(ids, default=0) >= self._source_size:
                encoded[index] = _look_up(
                    self._source, sentences[index], self._source_size, self._unk_id
                )
        cut = sum(len(ids) > self._max_length for ids in encoded)
        if cut:
            logger.warning(
                "%d of %d sentences cut to %d tokens: split long lines into sentences",
                cut,
                len(encoded),
                self._max_length,
            )
        return [[*prefix, *ids[: self._max_length], self._eos_id] if ids else [] for ids in encoded]

    def _beginning(self, sentence: str) -> str:
        """Enough of a very long sentence: what lies behind max_source_length pieces is cut."""
        size = _CHARACTERS_PER_TOKEN * self._max_length
        while size < len(sentence):
            # Twice as many, so that the pieces before the cut are those of the whole sentence.
            if len(self._source.encode(sentence[:size])) > 2 * self._max_length:
                return sentence[:size]
            size *= 4
        return sentence

    def encode_target_prefix(self, text: str) -> list[int]:
        """Target ids of the text that a translation is to begin with; no BOS, no EOS."""
        if not text:
            return []
        return _look_up(self._target, text, self._target_size, self._unk_id)

    def decode(self, hypotheses: Sequence[Sequence[int]]) -> list[str]:
        """Text of each list of target ids (without BOS and EOS)."""
        try:
            with run_gate.gate.run():
                texts: list[str] = self._target.decode([list(ids) for ids in hypotheses])
        except IndexError as error:
            raise ModelError(
                f"the model wrote a token that {self._target_path} does not have: copy or export"
                " the model again"
            ) from error
        return [text.strip() for text in texts]


def _look_up(
    processor: sentencepiece.SentencePieceProcessor, text: str, size: int, unk_id: int
) -> list[int]:
    """Ids of the pieces of a text, found by their text as the trainer's vocabulary does.

    A piece that SentencePiece calls unknown may still be a token of the model, and a piece may
    have an id of `size` or more, which is no token of the model.
    """
    pieces = processor.encode(text, out_type=str)
    ids: list[int] = processor.piece_to_id(pieces)
    is_control = processor.is_control  # "<pad>" in a text is no padding
    return [i if i < size and not is_control(i) else unk_id for i in ids]


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


def _load(path: Path) -> sentencepiece.SentencePieceProcessor:
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise ModelError(f"{path} is not a SentencePiece model: {error}") from error
