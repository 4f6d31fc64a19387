"""Text to the token ids of a SentencePiece model and back.

A model that was trained elsewhere may have tokens that SentencePiece must not find in a text, or
not on its own. `tfm import` names their pieces so that no segmentation can contain them: text has
no spaces left when it is segmented, only "▁".

* " y", a space and a text: a token that the other side's SentencePiece model has. A piece of that
  text which is otherwise unknown is this token.
* " @URL@ ", a text between spaces: an added token. Text is split at it before it is segmented, and
  in decoded text it stands between spaces.
* " " alone: the model has pieces of these two kinds.
"""

import re
from collections.abc import Mapping, Sequence

import sentencepiece

from .errors import UnknownLanguageError

MARKER = " "
FEW = 8  # sentences

_LANGUAGE_TAG = re.compile(r"\s*>>([^<>\s]+)<<")


class SubwordModel:
    """A SentencePiece model, and the rules for pieces with special names."""

    def __init__(self, processor: sentencepiece.SentencePieceProcessor) -> None:
        """The processor is used, not copied."""
        self._processor = processor
        self._marked: frozenset[int] = frozenset()
        self._added: dict[str, int] = {}
        self._split_pattern: re.Pattern[str] | None = None
        if processor.is_control(processor.piece_to_id(MARKER)):
            self._find_marked()

    def __len__(self) -> int:
        """How many pieces there are."""
        return int(self._processor.vocab_size())

    @property
    def added_tokens(self) -> dict[str, int]:
        """Ids by text of the tokens that text is split at."""
        return dict(self._added)

    def _find_marked(self) -> None:
        names = self._processor.id_to_piece(list(range(self._processor.vocab_size())))
        marked = {i: name for i, name in enumerate(names) if name[0] == MARKER and name != MARKER}
        self._marked = frozenset(marked)
        self._added = {name[1:-1]: i for i, name in marked.items() if name[-1] == MARKER}
        if self._added:  # of two that begin at one place, the longer one
            texts = sorted(self._added, key=len, reverse=True)
            self._split_pattern = re.compile(f"({'|'.join(map(re.escape, texts))})")

    def encode(self, texts: Sequence[str], size: int, unk_id: int) -> list[list[int]]:
        """The ids of each text.

        Args:
            size: tokens of the model; a piece with an id of `size` or more is none of them
            unk_id: the token for such pieces, and for unknown ones

        Raises:
            UnicodeEncodeError: a text holds a lone surrogate, which no UTF-8 text can
        """
        try:
            if self._split_pattern is None:
                return self._encode(texts, size, unk_id)
            rows = []
            for text in texts:
                ids: list[int] = []
                for part in self._split_pattern.split(text):
                    if part in self._added:
                        ids.append(self._added[part])
                    elif part:
                        ids += self._encode([part], size, unk_id)[0]
                rows.append(ids)
            return rows
        except TypeError:
            "".join(texts).encode("utf-8")  # this error says what is wrong
            raise

    def names(self, ids: Sequence[int]) -> list[str]:
        """What each token says."""
        return [plain_name(name) for name in self._processor.id_to_piece(list(ids))]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where in the text each id of `encode` comes from: characters from and to.

        The bytes of a character that is no piece all have that character's place. What stands for
        nothing in the text, such as the "▁" before its first word, has an empty one.
        """
        parts = [text] if self._split_pattern is None else self._split_pattern.split(text)
        places: list[tuple[int, int]] = []
        start = 0
        for part in parts:
            if part in self._added:
                places.append((start, start + len(part)))
            elif part:
                places += [(start + begin, start + end) for begin, end in self._spans(part)]
            start += len(part)
        return places

    def _spans(self, text: str) -> list[tuple[int, int]]:
        # Here, because it loads protobuf, which few need.
        from sentencepiece.sentencepiece_pb2 import SentencePieceText  # type: ignore[attr-defined]

        encoded = self._processor.encode(text, out_type="serialized_proto")
        proto = SentencePieceText.FromString(encoded)
        characters = [index for index, char in enumerate(text) for _ in char.encode("utf-8")]
        characters.append(len(text))
        places: list[tuple[int, int]] = []
        bytes_before = 0  # of a character whose last byte has not come
        for piece in proto.pieces:
            begin, end = characters[piece.begin], characters[piece.end]
            if self._processor.is_byte(piece.id) and begin == end:
                bytes_before += 1
                continue
            places += [(begin, end)] * (bytes_before + 1)
            bytes_before = 0
        return places + [(len(text), len(text))] * bytes_before

    def _encode(self, texts: Sequence[str], size: int, unk_id: int) -> list[list[int]]:
        # Of a list SentencePiece makes threads, one for each processor, which takes longer than the
        # work of a few sentences: far longer where other programs have the processors.
        encode = self._processor.encode
        rows: list[list[int]] = (
            [encode(text, out_type=int) for text in texts]
            if len(texts) <= FEW
            else encode(list(texts), out_type=int, num_threads=1)
        )
        for index, ids in enumerate(rows):
            if unk_id in ids or max(ids, default=0) >= size:
                rows[index] = self._look_up(texts[index], size, unk_id)
        return rows

    def _look_up(self, text: str, size: int, unk_id: int) -> list[int]:
        """Ids of the pieces of a text, found by their text: a piece that SentencePiece calls
        unknown may still be a token of the model."""
        processor = self._processor
        pieces = processor.encode(text, out_type=str)
        ids: list[int] = processor.piece_to_id(pieces)
        if self._marked:
            for index, piece in enumerate(pieces):
                if ids[index] == unk_id:
                    name = MARKER + piece + (MARKER if piece in self._added else "")
                    ids[index] = processor.piece_to_id(name)
        return [i if i < size and self._is_text(i) else unk_id for i in ids]

    def _is_text(self, number: int) -> bool:
        """Whether text may become this token: "<pad>" in a text is no padding."""
        return number in self._marked or not self._processor.is_control(number)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without space at its ends."""
        if self._marked.isdisjoint(ids):
            return self._processor.decode(list(ids)).strip()  # type: ignore[no-any-return]
        parts: list[str] = []
        pieces: list[str] = []
        for number in ids:
            name = self._processor.id_to_piece(number)
            if self._processor.is_control(number):
                continue
            if number in self._marked and name[-1] == MARKER:
                parts += [self._joined(pieces), name.strip(MARKER)]
                pieces = []
            else:
                pieces.append(name.removeprefix(MARKER))
        parts.append(self._joined(pieces))
        return " ".join(filter(None, parts))

    def texts(self, size: int) -> list[bytes]:
        """What each of the first `size` pieces adds to a text, in UTF-8, with its spaces."""
        processor = self._processor
        names: list[str] = processor.id_to_piece(list(range(size)))
        texts = []
        for number, name in enumerate(names):
            if processor.is_control(number):
                text = ""
            elif number in self._marked:
                text = name if name[-1] == MARKER else name.removeprefix(MARKER)
            elif processor.is_unknown(number):
                text = processor.decode([number])
            elif processor.is_byte(number):
                texts.append(bytes([int(name[3:5], 16)]))  # <0x2A>
                continue
            else:
                text = name
            texts.append(text.replace("▁", " ").encode())
        return texts

    def _joined(self, pieces: Sequence[str]) -> str:
        """The text of pieces by their names, some of which SentencePiece does not know."""
        text: str = self._processor.decode(list(pieces))
        return text.replace("▁", " ").strip()


def plain_name(piece: str) -> str:
    """What a token says, of the name of its piece."""
    return piece.removeprefix(MARKER).removesuffix(MARKER) or piece


def split_language_tag(text: str, language_ids: Mapping[str, int]) -> tuple[int | None, str]:
    """The token that a tag such as `>>fra<<` at the beginning of a text chooses, and what follows.

    Without a tag it is None and the text itself.

    Raises:
        UnknownLanguageError: the tag is none of the languages
    """
    match = _LANGUAGE_TAG.match(text) if ">>" in text else None
    if match is None:
        return None, text
    if match[1] not in language_ids:
        raise UnknownLanguageError(
            f"the sentence {text[:40]!r} begins with >>{match[1]}<<, none of this model's "
            f"languages: {_some(sorted(language_ids))}"
        )
    return language_ids[match[1]], text[match.end() :]


def _some(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + ", ..." * (len(names) > most)
