"""The vocabularies of a Marian model: SentencePiece models, or numbered subwords beside them.

Marian trains and applies SentencePiece itself where a vocabulary's name ends in .spm: the id of a
piece is the model's id, `</s>` is 0 and `<unk>` is 1. Elsewhere, as for OPUS-MT, a .yml lists the
subwords with their ids, and text was segmented before, so Marian's own files cannot segment it;
source.spm and target.spm do. Marian has no padding token: here it is the one after the last, whose
embedding of zero is also what the decoder begins with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import sentencepiece

from tfm.runtime.files.regular import read_regular
from tfm.trainer.errors import TrainError
from tfm.trainer.importing.added_tokens import AddedTokens
from tfm.trainer.importing.sentencepiece_ids import parse
from tfm.trainer.importing.tokenizers import MARIAN_TAG, Side, Tokens, tokens_of
from tfm.trainer.importing.yaml_text import read_yaml_mapping

SENTENCEPIECE, NUMBERED = (".spm", ".model"), (".yml", ".yaml", ".json")
BESIDE = ("source.spm", "target.spm")  # as OPUS-MT calls them
MOST_BYTES = 1 << 26  # of a vocabulary
EOS, UNKNOWN, PADDING = "</s>", "<unk>", "<pad>"
NEWLINE = "<0x0A>"  # with byte fallback: Marian never writes it


@dataclass(frozen=True, slots=True)
class MarianVocabulary:
    """Both sides' tokens, the padding token among them, and which are never written."""

    tokens: Tokens
    suppress_ids: tuple[int, ...]


def read_vocabulary(paths: Sequence[Path], sizes: tuple[int, int]) -> MarianVocabulary:
    """Read a model's vocabularies.

    Args:
        paths: of each side, source first, or one for both: a SentencePiece model, or numbered
            subwords. SentencePiece models for numbered subwords may follow, or lie beside them
        sizes: tokens of the model, without padding

    Raises:
        TrainError: a file is missing or is none, does not belong to the model, or nothing says how
            text is segmented
    """
    numbered = [path for path in paths if path.suffix in NUMBERED]
    models = [path for path in paths if path.suffix in SENTENCEPIECE]
    other = [path for path in paths if path not in numbered and path not in models]
    if other:
        raise TrainError(
            f"{other[0]}: the name of a vocabulary ends in {', '.join(SENTENCEPIECE + NUMBERED)}"
        )
    if len(numbered) > 2 or len(models) > 2 or not paths:
        raise TrainError(
            f"{len(paths)} vocabularies: give one, or that of the source and that of the target"
        )
    if numbered:
        models = models or _models_beside(numbered[0])
        listed = [_numbers(path) for path in numbered]
        where = numbered[0]
    else:
        listed, where = [], models[0]
    contents = [_read(path) for path in models]
    if not listed:
        listed = [_pieces(content, path) for content, path in zip(contents, models, strict=True)]
    padding = max(sizes)
    sides = [
        Side(contents[index % len(contents)], _with_padding(numbers, size, padding))
        for index, (numbers, size) in enumerate(zip((listed[0], listed[-1]), sizes, strict=True))
    ]
    is_joint = sizes[0] == sizes[1] and sides[0] == sides[1]
    return _vocabulary(where, sides[0], sides[0] if is_joint else sides[1], sizes, padding)


def _vocabulary(
    where: Path, source: Side, target: Side, sizes: tuple[int, int], padding: int
) -> MarianVocabulary:
    for side in (source, target):
        for name in (EOS, UNKNOWN):
            if side.tokens.get(_id_of(source, name)) != name:
                raise TrainError(f"{where}: {name} has no id that both vocabularies share")
    languages = {
        match[1]: number
        for number, text in source.tokens.items()
        if (match := MARIAN_TAG.fullmatch(text))
    }
    tokens = tokens_of(where, source, target, languages, AddedTokens({}, frozenset()))
    newline = [number for number, text in target.tokens.items() if text == NEWLINE]
    never = {tokens.unk_id, *newline, *range(sizes[1], padding + 1)}
    return MarianVocabulary(tokens, tuple(sorted(never)))


def _id_of(side: Side, text: str) -> int:
    return next((number for number, said in side.tokens.items() if said == text), -1)


def _with_padding(numbers: Mapping[int, str], size: int, padding: int) -> dict[int, str]:
    """Without tokens that the model has no embedding for."""
    tokens = {number: text for number, text in numbers.items() if number < size}
    return tokens | {padding: PADDING}


def _pieces(content: bytes, path: Path) -> dict[int, str]:
    """What the pieces of a SentencePiece model say, by id."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=content)
    tokens = {number: piece.piece for number, piece in enumerate(parse(content).pieces)}
    for name, number in ((EOS, processor.eos_id()), (UNKNOWN, processor.unk_id())):
        if number < 0:
            raise TrainError(f"{path}: no {name}, as Marian's SentencePiece models have")
        tokens[number] = name
    return tokens


def _numbers(path: Path) -> dict[int, str]:
    """What a list of numbered subwords says, by id."""
    tokens: dict[int, str] = {}
    for text, number in read_yaml_mapping(_read_bytes(path), path).items():
        if not isinstance(number, str) or not (number.isascii() and number.isdigit()):
            raise TrainError(f"{path}: {text!r} has the number {number!r}")
        if len(number) > 9 or tokens.setdefault(int(number), text) != text:
            raise TrainError(f"{path}: the number {number} of {text!r} is too large or not its own")
    return tokens


def _models_beside(path: Path) -> list[Path]:
    found = [path.parent / name for name in BESIDE if (path.parent / name).exists()]
    if not found:
        raise TrainError(
            f"{path} lists subwords and does not say how text is segmented: give the SentencePiece "
            "models too, --vocab source.spm --vocab target.spm"
        )
    return found


def _read(path: Path) -> bytes:
    content = _read_bytes(path)
    try:
        parse(content)
        sentencepiece.SentencePieceProcessor(model_proto=content)
    except (TrainError, RuntimeError) as error:
        raise TrainError(f"{path}: not a SentencePiece model") from error
    return content


def _read_bytes(path: Path) -> bytes:
    try:
        return read_regular(path, MOST_BYTES)
    except FileNotFoundError as error:
        raise TrainError(f"{path}: not found") from error
    except OSError as error:
        raise TrainError(f"{path}: cannot be read: {error.strerror}") from error
