"""The tokenizers of Marian, M2M100 and NLLB as SentencePiece models with the model's own ids."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece

from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.errors import TrainError

from .added_tokens import AddedTokens, content_of, read_added_tokens
from .files import TransformersFolder
from .sentencepiece_ids import PieceKinds, fill, parse, renumber

# The codes of M2M100 (Fan et al. 2020) in the order of their ids, which its files do not list.
M2M100_LANGUAGES = """
af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi
hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns
oc or pa pl ps pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo
zh zu
"""
MARIAN_TAG, M2M100_TAG = re.compile(r">>(.+)<<"), re.compile(r"__(.+)__")
NLLB_CODE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")  # such as eng_Latn


@dataclass(frozen=True, slots=True)
class Side:
    """One side's SentencePiece model, and what the model's tokens say, by id; added tokens too."""

    model: bytes
    tokens: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the tokenizer's files say, before the model's size is known.

    `source` and `target` are one where the vocabulary is joint; `language_ids` are ids by language.
    A language's token can be an added one too, and then it is one anywhere in a text.
    """

    source: Side
    target: Side
    eos_id: int
    pad_id: int
    unk_id: int
    language_ids: dict[str, int]
    added: AddedTokens


def read_marian(folder: TransformersFolder) -> Tokens:
    """source.spm, target.spm, and vocab.json with the ids of both.

    Raises:
        TrainError: a file is missing or is none, or a tokenizer of another kind wrote it
    """
    settings = folder.read_optional_json("tokenizer_config.json")
    _check_settings(folder, settings, (("tokenizer_class", ("MarianTokenizer",)),))
    numbers = _numbers(folder, "vocab.json")
    target_numbers = numbers
    if settings.get("separate_vocabs") is True:
        target_numbers = _numbers(folder, "target_vocab.json")
    for name in ("<unk>", "</s>", "<pad>"):
        if numbers.get(name) != target_numbers.get(name):
            raise TrainError(f"{folder.path}: {name} has no number that both vocabularies share")
    added = read_added_tokens(folder, numbers, {})
    if added.ids and target_numbers is not numbers:
        raise TrainError(
            f"{folder.path}: the added token {next(iter(added.ids))!r} beside two vocabularies: "
            "not supported"
        )
    language_ids = {
        match[1]: number
        for name, number in (numbers | added.ids).items()
        if (match := MARIAN_TAG.fullmatch(name))
    }
    return tokens_of(
        folder.path / "vocab.json",
        Side(folder.read_sentencepiece("source.spm"), _by_number(numbers)),
        Side(folder.read_sentencepiece("target.spm"), _by_number(target_numbers)),
        language_ids,
        added,
    )


def read_m2m100(folder: TransformersFolder) -> Tokens:
    """sentencepiece.bpe.model. M2M100 has its ids in vocab.json, and after them the languages; NLLB
    those of SentencePiece after four of its own, and lists the languages with theirs.

    Raises:
        TrainError: a file is missing or is none, or a tokenizer of another kind wrote it
    """
    settings = folder.read_optional_json("tokenizer_config.json")
    classes = ("M2M100Tokenizer", "NllbTokenizer", "NllbTokenizerFast")
    known = (
        ("tokenizer_class", classes),
        ("language_codes", ("m2m100",)),
        ("legacy_behaviour", (False,)),
    )
    _check_settings(folder, settings, known)
    spm = folder.read_sentencepiece("sentencepiece.bpe.model")
    if folder.has("vocab.json"):
        numbers = _numbers(folder, "vocab.json")
        names = [f"__{code}__" for code in M2M100_LANGUAGES.split()]
        standard = {name: number for number, name in enumerate(names, start=len(numbers))}
        added = read_added_tokens(folder, numbers | standard, {}).without(standard)
        tokens = _by_number(numbers)
        extra = {name: n for name, n in added.ids.items() if M2M100_TAG.fullmatch(name)}
        language_ids = standard | extra
    else:
        pieces = [piece.piece for piece in parse(spm).pieces]
        tokens = dict(enumerate(["<s>", "<pad>", "</s>", "<unk>", *pieces[3:]]))
        listed = _nllb_codes(folder, settings)
        by_order = {code: number for number, code in enumerate(listed, start=len(tokens))}
        added = read_added_tokens(folder, _by_text(tokens), by_order)
        language_ids = {code: n for code, n in added.ids.items() if NLLB_CODE.fullmatch(code)}
        added = added.without(language_ids)
        if not language_ids:
            raise TrainError(
                f"{folder.path}: there is no vocab.json of M2M100, and no tokenizer_config.json, "
                "tokenizer.json, added_tokens.json or special_tokens_map.json lists NLLB's "
                "languages"
            )
    joint = Side(spm, tokens | {number: name for name, number in language_ids.items()})
    by_language = {name.strip("_"): number for name, number in language_ids.items()}
    return tokens_of(folder.path, joint, joint, by_language, added)


def build_vocabulary(
    tokens: Tokens, sizes: tuple[int, int], control_ids: Collection[int]
) -> tuple[Vocabulary, int]:
    """The vocabulary of a model.

    Args:
        sizes: tokens of the model on either side
        control_ids: tokens that are not text

    Returns:
        and how many pieces, on both sides, come after the model's tokens (sentencepiece_ids.py)

    Raises:
        TrainError: an id is beyond the size, or a SentencePiece model is none
    """
    hidden = {tokens.added.ids[text] for text in tokens.added.special if text in tokens.added.ids}
    kinds = PieceKinds(
        unk_id=tokens.unk_id,
        control_ids=frozenset(control_ids) | hidden,
        added_ids=frozenset(tokens.added.ids.values()),
    )
    sides = [tokens.source] if tokens.source is tokens.target else [tokens.source, tokens.target]
    renumbered = []
    for side, size in zip(sides, sizes, strict=False):
        largest = max(side.tokens)
        if largest >= size:
            raise TrainError(
                f"the tokenizer has a token {largest} ({side.tokens[largest]!r}), the model only "
                f"{size} tokens"
            )
        renumbered.append(renumber(side.model, side.tokens, size, kinds))
    counts = [len(parse(model).pieces) for model in renumbered]
    unknown = max(count - size for count, size in zip(counts, sizes, strict=False))
    try:
        processors = [
            sentencepiece.SentencePieceProcessor(model_proto=fill(model, size + unknown))
            for model, size in zip(renumbered, sizes, strict=False)
        ]
    except RuntimeError as error:
        raise TrainError(f"the vocabulary makes no SentencePiece model: {error}") from error
    return Vocabulary(processors[0], processors[-1]), unknown


def tokens_of(
    where: Path, source: Side, target: Side, language_ids: dict[str, int], added: AddedTokens
) -> Tokens:
    """Both sides with their special and their added tokens.

    Raises:
        TrainError: a special token is missing, or an added token has the id of another
    """
    special = {}
    numbers = _by_text(source.tokens)
    for name in ("</s>", "<pad>", "<unk>"):
        if name not in numbers:
            raise TrainError(f"{where}: there is no {name}")
        special[name] = numbers[name]
    sides = []
    for side in (source, target):
        tokens = dict(side.tokens)
        for text, number in added.ids.items():
            if tokens.setdefault(number, text) != text:
                raise TrainError(
                    f"{where}: the added token {text!r} has the id {number}, and so has "
                    f"{tokens[number]!r}"
                )
        sides.append(Side(side.model, tokens))
    if source is target:
        sides[1] = sides[0]
    return Tokens(
        source=sides[0],
        target=sides[1],
        eos_id=special["</s>"],
        pad_id=special["<pad>"],
        unk_id=special["<unk>"],
        language_ids=language_ids,
        added=added,
    )


def _nllb_codes(folder: TransformersFolder, settings: Mapping[str, Any]) -> list[str]:
    """The languages in the order of their ids, which files may leave out."""
    special = folder.read_optional_json("special_tokens_map.json")
    listed: list[Any] = (
        settings.get("additional_special_tokens") or special.get("additional_special_tokens") or []
    )
    return [code for code in map(content_of, listed) if NLLB_CODE.fullmatch(code)]


def _check_settings(
    folder: TransformersFolder,
    settings: Mapping[str, Any],
    known: Sequence[tuple[str, Sequence[Any]]],
) -> None:
    """Raise TrainError where tokenizer_config.json asks for a tokenizer that tfm does not have."""
    where = folder.path / "tokenizer_config.json"
    for key, values in known:
        if settings.get(key) is not None and settings[key] not in values:
            raise TrainError(
                f"{where}: {key} is {settings[key]!r}: tfm knows {', '.join(map(str, values))}"
            )
    if settings.get("sp_model_kwargs"):
        raise TrainError(
            f"{where}: sp_model_kwargs is {settings['sp_model_kwargs']!r}: not supported"
        )
    for key, text in (("eos_token", "</s>"), ("pad_token", "<pad>"), ("unk_token", "<unk>")):
        if content_of(settings.get(key) or text) != text:
            raise TrainError(f"{where}: {key} is {settings[key]!r}: tfm knows {text}")


def _numbers(folder: TransformersFolder, name: str) -> dict[str, int]:
    """Ids by text."""
    numbers, path = folder.read_json(name), folder.path / name
    owners: dict[int, str] = {}
    for text, number in numbers.items():
        if type(number) is not int or number < 0:
            raise TrainError(f"{path}: {text!r} has the number {number!r}")
        if owners.setdefault(number, text) != text:
            raise TrainError(f"{path}: {owners[number]!r} and {text!r} have the number {number}")
    return numbers


def _by_number(numbers: Mapping[str, int]) -> dict[int, str]:
    return {number: text for text, number in numbers.items()}


def _by_text(tokens: Mapping[int, str]) -> dict[str, int]:
    return {text: number for number, text in tokens.items()}
