"""SentencePiece models renumbered, so that the id of a piece is the id of the model's token.

Models that others trained often number their tokens in a file of their own. Renumbered, the
SentencePiece model is all that text needs to become ids and ids to become text:

* Piece i is token i. The text of a piece, its score and with them the segmentation stay.
* A token that is no piece of the segmentation (one of the other language, where both share one
  numbering) is never segmented to, but can be looked up by what it says.
* A piece of the segmentation that is no token comes after the last token: the model knows it no
  more than unk_id.
* An added token has a name by which text is split at it: see tfm/runtime/subwords.py, which reads
  what is written here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tfm.runtime.subwords import MARKER
from tfm.trainer.errors import TrainError

UNIGRAM, CHARACTERS = 1, 4  # ModelProto's numbers
NORMAL, UNKNOWN, CONTROL, UNUSED = 1, 2, 3, 5

# Part of every tokenizer. Unlike in transformers, a text that reads like one is only text here.
NOT_TEXT = frozenset({"<s>", "</s>", "<unk>", "<pad>", "<mask>"})


@dataclass(frozen=True, slots=True)
class PieceKinds:
    """Which tokens are no ordinary text.

    Attributes:
        unk_id: the token for what is not known
        control_ids: tokens that are not decoded, such as EOS and the tokens of languages
        added_ids: tokens that text is split at
    """

    unk_id: int
    control_ids: frozenset[int]
    added_ids: frozenset[int]


def renumber(serialized: bytes, tokens: Mapping[int, str], size: int, kinds: PieceKinds) -> bytes:
    """Give the pieces of a SentencePiece model the numbers of the model's tokens.

    Args:
        serialized: the SentencePiece model
        tokens: what each token says; numbers below size that are not there say nothing
        size: tokens of the model

    Returns:
        the new SentencePiece model: `size` pieces, and after them those that are no token

    Raises:
        TrainError: serialized is no SentencePiece model, or two tokens say the same
    """
    model = parse(serialized)
    _check_texts(tokens)
    segmented = {}
    for piece in model.pieces:
        if piece.type not in (UNKNOWN, CONTROL):
            segmented[piece.piece] = type(piece)()
            segmented[piece.piece].CopyFrom(piece)
    is_unigram = model.trainer_spec.model_type == UNIGRAM
    has_marked = False
    del model.pieces[:]
    for number in range(size):
        text = tokens.get(number, f"<nothing {number}>")
        piece = model.pieces.add(piece=text, score=0.0)
        if number == kinds.unk_id:
            piece.type = UNKNOWN
        elif number in kinds.added_ids:
            piece.piece = MARKER + text + MARKER
            piece.type = CONTROL if number in kinds.control_ids else NORMAL
            has_marked = True
        elif number in kinds.control_ids or number not in tokens or text in NOT_TEXT:
            piece.type = CONTROL
        elif text in segmented:
            piece.CopyFrom(segmented.pop(text))
        elif is_unigram:
            piece.type = UNUSED
        else:
            # BPE merges unused pieces and takes them apart again, which changes what it finds;
            # a name that no text can have is never merged.
            piece.piece = MARKER + text
            has_marked = True
    model.pieces.extend(segmented.values())
    if has_marked:
        _check_spaces(tokens)
        model.pieces.add(piece=MARKER, score=0.0, type=CONTROL)
    model.trainer_spec.unk_id = kinds.unk_id
    model.trainer_spec.unk_surface = ""  # as transformers decodes: what is not known is left out
    return _serialized(model)


def _check_texts(tokens: Mapping[int, str]) -> None:
    said = sorted(tokens.values())
    twice = next((a for a, b in pairwise(said) if a == b), None)
    if twice is not None:
        raise TrainError(f"two tokens of the vocabulary are {twice!r}")
    for text in said:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise TrainError(f"the token {text!r} of the vocabulary is no text: {error}") from error


def _check_spaces(tokens: Mapping[int, str]) -> None:
    """Raise TrainError where a token reads like a name that has a meaning."""
    for text in tokens.values():
        if text != text.strip(MARKER):
            raise TrainError(f"the token {text!r} begins or ends with a space: not supported")


def fill(serialized: bytes, size: int) -> bytes:
    """Add pieces that say nothing, until there are `size`."""
    model = parse(serialized)
    for number in range(len(model.pieces), size):
        model.pieces.add(piece=f"<nothing {number}>", score=0.0, type=CONTROL)
    return _serialized(model)


def character_model(characters: Iterable[str]) -> bytes:
    """A SentencePiece model that segments text into these characters, and a space into "▁"."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    model.trainer_spec.model_type = CHARACTERS
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = False
    model.pieces.add(piece="<unk>", score=0.0, type=UNKNOWN)
    for character in characters:
        model.pieces.add(piece=character, score=0.0, type=NORMAL)
    return _serialized(model)


def parse(serialized: bytes) -> Any:
    """SentencePiece's ModelProto.

    Raises:
        TrainError: serialized is none
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    try:
        model.ParseFromString(serialized)
    except DecodeError as error:
        raise TrainError("not a SentencePiece model") from error
    if not model.pieces:
        raise TrainError("not a SentencePiece model: it has no pieces")
    return model


def _serialized(model: Any) -> bytes:
    model.trainer_spec.vocab_size = len(model.pieces)
    return model.SerializeToString()  # type: ignore[no-any-return]
