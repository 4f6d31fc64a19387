"""The tokens of a CTranslate2 model, and the SentencePiece models that text is segmented with.

CTranslate2 itself is given tokens, so its folder has a list of them for each side, or one for both.
`tfm convert` and OPUS-MT have SentencePiece models beside it, an .argosmodel has one. Where there
is none and every token is one character, text is segmented into characters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfm.runtime.files.regular import read_regular
from tfm.trainer.errors import TrainError
from tfm.trainer.importing.added_tokens import AddedTokens
from tfm.trainer.importing.sentencepiece_ids import character_model, parse
from tfm.trainer.importing.tokenizers import (
    M2M100_TAG,
    MARIAN_TAG,
    NLLB_CODE,
    Side,
    Tokens,
    tokens_of,
)

from .files import ModelFiles
from .settings import CTranslate2Settings
from .weights import Order

SHARED, SIDES = "shared_vocabulary", ("source_vocabulary", "target_vocabulary")
SENTENCEPIECE = (("source.spm", "target.spm"), ("sentencepiece.model",))
PADDING = ("<pad>", "<blank>")
MOST_BYTES = 1 << 26
MOST_ADDED = 1 << 10  # tokens that are only there so that both sides have the same special ids


@dataclass(frozen=True, slots=True)
class CTranslate2Vocabulary:
    """Tokens with ids that are ours.

    Attributes:
        orders: of our tokens on either side, what number the model has for each
        suppress_ids: tokens of the target that the model does not have
        language_token: as in TransformerConfig
    """

    tokens: Tokens
    orders: tuple[Order, Order]
    bos_id: int
    suppress_ids: tuple[int, ...]
    language_token: str


def read_vocabulary(
    files: ModelFiles, settings: CTranslate2Settings, paths: Sequence[Path]
) -> CTranslate2Vocabulary:
    """Read the lists of tokens and the SentencePiece models.

    Args:
        paths: SentencePiece models to take instead of those in the folder

    Raises:
        TrainError: a file is missing or is none, a special token is missing, or nothing says how
            text is segmented
    """
    source, target = _token_lists(files, settings.unk_token)
    orders = _orders(source, target, settings)
    sides = []
    for order, tokens in zip(orders, (source, target), strict=True):
        said = {place: tokens[n] for place, n in enumerate(order) if n is not None}
        sides.append(said)
    padding = _padding_id(orders, source, target, settings)
    names = {padding: "<pad>"}
    for token, name in ((settings.eos_token, "</s>"), (settings.unk_token, "<unk>")):
        names[_id_of(sides[1], token)] = name
    models = _sentencepiece_models(files, paths, (source, target))
    named = [Side(model, said | names) for model, said in zip(models, sides, strict=True)]
    if named[0] == named[1]:
        named[1] = named[0]
    language_ids, language_token = _languages(sides[1])
    tokens_with_ids = tokens_of(
        files.path, named[0], named[1], language_ids, AddedTokens({}, frozenset())
    )
    start = padding if settings.zero_start else _id_of(sides[1], settings.decoder_start_token)
    never = [place for place, number in enumerate(orders[1]) if number is None]
    return CTranslate2Vocabulary(tokens_with_ids, orders, start, tuple(never), language_token)


def _token_lists(files: ModelFiles, unk_token: str) -> tuple[list[str], list[str]]:
    shared = _token_list(files, SHARED, unk_token)
    if shared is not None:
        return shared, shared
    found = [_token_list(files, name, unk_token) for name in SIDES]
    if found[0] is None or found[1] is None:
        raise TrainError(f"{files.path}: neither {SHARED} nor {' and '.join(SIDES)}")
    return found[0], found[1]


def _token_list(files: ModelFiles, name: str, unk_token: str) -> list[str] | None:
    if files.has(f"{name}.json"):
        tokens = files.read_json(f"{name}.json")
        if not isinstance(tokens, list) or not all(isinstance(t, str) for t in tokens):
            raise TrainError(f"{files.path / name}.json: a list of tokens is needed")
    elif files.has(f"{name}.txt"):
        try:
            lines = files.read(f"{name}.txt").decode("utf-8").removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            raise TrainError(f"{files.path / name}.txt: not UTF-8: {error}") from error
        ends_in_return = all(line.endswith("\r") for line in lines)
        tokens = [line[:-1] for line in lines] if ends_in_return else lines
    else:
        return None
    return tokens if unk_token in tokens else [*tokens, unk_token]


def _orders(
    source: list[str], target: list[str], settings: CTranslate2Settings
) -> tuple[Order, Order]:
    """Our numbering: theirs, but with the same special ids on both sides, and with a token for
    padding where they share none or where the decoder begins with a zero vector."""
    ours: list[int | None] = list(range(len(source)))
    if source != target:
        for token in (settings.eos_token, settings.unk_token):
            for side, tokens in (("source", source), ("target", target)):
                if token not in tokens:
                    raise TrainError(f"{token!r} is no token of the {side}")
            place = target.index(token)
            if place > len(ours) + MOST_ADDED:
                raise TrainError(
                    f"{token!r} is token {place} of the target, and the source has {len(ours)}"
                )
            ours += [None] * (place + 1 - len(ours))
            before = ours.index(source.index(token))
            ours[before], ours[place] = ours[place], ours[before]
    theirs: list[int | None] = list(range(len(target)))
    if settings.zero_start or _shared_padding(ours, source, target) is None:
        size = max(len(ours), len(theirs)) + 1
        ours += [None] * (size - len(ours))
        theirs += [None] * (size - len(theirs))
    return ours, theirs


def _shared_padding(order: Order, source: list[str], target: list[str]) -> int | None:
    """The id of a token that is padding by its name, the same on both sides."""
    for name in PADDING:
        if name in target:
            place = target.index(name)
            number = order[place] if place < len(order) else None
            if number is not None and source[number] == name:
                return place
    return None


def _padding_id(
    orders: tuple[Order, Order],
    source: list[str],
    target: list[str],
    settings: CTranslate2Settings,
) -> int:
    shared = None if settings.zero_start else _shared_padding(orders[0], source, target)
    return len(orders[1]) - 1 if shared is None else shared


def _id_of(tokens: dict[int, str], text: str) -> int:
    for number, said in tokens.items():
        if said == text:
            return number
    raise TrainError(f"{text!r} is no token of the target")


def _languages(tokens: dict[int, str]) -> tuple[dict[str, int], str]:
    """Ids by language, and where their tokens stand."""
    for pattern, place in ((MARIAN_TAG, "source"), (M2M100_TAG, "both"), (NLLB_CODE, "both")):
        found = {text: n for n, text in tokens.items() if pattern.fullmatch(text)}
        if found:
            return {text.strip("_<>"): n for text, n in found.items()}, place
    return {}, "none"


def _sentencepiece_models(
    files: ModelFiles, paths: Sequence[Path], tokens: tuple[list[str], list[str]]
) -> tuple[bytes, bytes]:
    if len(paths) > 2:
        raise TrainError(f"{len(paths)} vocabularies: one for both sides, or one for each")
    contents = [_read(path) for path in paths]
    for names in () if contents else SENTENCEPIECE:
        if files.has(names[0]):
            contents = [_checked(files, name) for name in names if files.has(name)]
            break
    if contents:
        return contents[0], contents[-1]
    ordinary = [[t for t in side if not (t[:1] == "<" and t[-1:] == ">")] for side in tokens]
    if all(len(token) == 1 for side in ordinary for token in side):
        return character_model(ordinary[0]), character_model(ordinary[1])
    raise TrainError(
        f"{files.path} has no SentencePiece model, which segments text: give it with --vocab"
    )


def _checked(files: ModelFiles, name: str) -> bytes:
    content = files.read(name)
    try:
        parse(content)
    except TrainError as error:
        raise TrainError(f"{files.path / name}: {error}") from error
    return content


def _read(path: Path) -> bytes:
    try:
        content = read_regular(path, MOST_BYTES)
        parse(content)
    except FileNotFoundError as error:
        raise TrainError(f"{path}: not found") from error
    except OSError as error:
        raise TrainError(f"{path}: cannot be read: {error.strerror}") from error
    except TrainError as error:
        raise TrainError(f"{path}: {error}") from error
    return content
