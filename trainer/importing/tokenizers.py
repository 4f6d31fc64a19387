"""The tokenizers of Marian, M2M100 and NLLB as SentencePiece models with the model's own ids."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece

from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.errors import TrainError

from .files import read_bytes, read_json, read_optional_json
from .sentencepiece_ids import fill, parse, renumber

# The codes of M2M100 (Fan et al. 2020) in the order of their ids, which its files do not list.
M2M100_LANGUAGES = """
af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi
hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns
oc or pa pl ps pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo
zh zu
"""
NLLB_CODE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")  # such as eng_Latn


@dataclass(frozen=True, slots=True)
class Side:
    """One side's SentencePiece model, and what the model's tokens say, by id."""

    model: bytes
    tokens: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the tokenizer's files say, before the model's size is known.

    `source` and `target` are one where the vocabulary is joint; `language_ids` are ids by language.
    """

    source: Side
    target: Side
    eos_id: int
    pad_id: int
    unk_id: int
    language_ids: dict[str, int]


def read_marian(folder: Path) -> Tokens:
    """source.spm, target.spm, and vocab.json with the ids of both.

    Raises:
        TrainError: a file is missing or is none
    """
    numbers = _numbers(folder / "vocab.json")
    other = folder / "target_vocab.json"
    target_numbers = _numbers(other) if other.exists() else numbers
    for name in ("<unk>", "</s>", "<pad>"):
        if numbers.get(name) != target_numbers.get(name):
            raise TrainError(f"{folder}: {name} has no number that both vocabularies share")
    language_ids = {
        match[1]: number
        for name, number in numbers.items()
        if (match := re.fullmatch(r">>(.+)<<", name))
    }
    return _tokens(
        folder / "vocab.json",
        Side(read_bytes(folder / "source.spm"), _by_number(numbers)),
        Side(read_bytes(folder / "target.spm"), _by_number(target_numbers)),
        language_ids,
    )


def read_m2m100(folder: Path) -> Tokens:
    """sentencepiece.bpe.model. M2M100 has its ids in vocab.json, and after them the languages; NLLB
    those of SentencePiece after four of its own, and lists the languages with theirs.

    Raises:
        TrainError: a file is missing or is none, or a tokenizer of another kind wrote it
    """
    settings = read_optional_json(folder / "tokenizer_config.json")
    for key, known in (
        ("tokenizer_class", ("M2M100Tokenizer", "NllbTokenizer", "NllbTokenizerFast")),
        ("language_codes", ("m2m100",)),
        ("legacy_behaviour", (False,)),
    ):
        if settings.get(key, known[0]) not in known:
            raise TrainError(
                f"{folder / 'tokenizer_config.json'}: {key} is {settings[key]!r}: tfm knows "
                f"{', '.join(map(str, known))}"
            )
    spm = read_bytes(folder / "sentencepiece.bpe.model")
    if (folder / "vocab.json").exists():
        tokens = _by_number(_numbers(folder / "vocab.json"))
        names = [f"__{code}__" for code in M2M100_LANGUAGES.split()]
        language_ids = {name: number for number, name in enumerate(names, start=len(tokens))}
    else:
        try:
            pieces = [piece.piece for piece in parse(spm).pieces]
        except TrainError as error:
            raise TrainError(f"{folder / 'sentencepiece.bpe.model'}: {error}") from error
        tokens = dict(enumerate(["<s>", "<pad>", "</s>", "<unk>", *pieces[3:]]))
        language_ids = _nllb_language_ids(folder, settings, after=len(tokens))
    joint = Side(spm, tokens | {number: name for name, number in language_ids.items()})
    by_language = {name.strip("_"): number for name, number in language_ids.items()}
    return _tokens(folder, joint, joint, by_language)


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
    sides = [tokens.source] if tokens.source is tokens.target else [tokens.source, tokens.target]
    renumbered = []
    for side, size in zip(sides, sizes, strict=False):
        largest = max(side.tokens)
        if largest >= size:
            raise TrainError(
                f"the tokenizer has a token {largest} ({side.tokens[largest]!r}), the model only "
                f"{size} tokens"
            )
        renumbered.append(
            renumber(side.model, side.tokens, size, unk_id=tokens.unk_id, control_ids=control_ids)
        )
    counts = [len(parse(model).pieces) for model in renumbered]
    unknown = max(count - size for count, size in zip(counts, sizes, strict=False))
    processors = [
        sentencepiece.SentencePieceProcessor(model_proto=fill(model, size + unknown))
        for model, size in zip(renumbered, sizes, strict=False)
    ]
    return Vocabulary(processors[0], processors[-1]), unknown


def _tokens(where: Path, source: Side, target: Side, language_ids: dict[str, int]) -> Tokens:
    special = {}
    numbers = {text: number for number, text in source.tokens.items()}
    for name in ("</s>", "<pad>", "<unk>"):
        if name not in numbers:
            raise TrainError(f"{where}: there is no {name}")
        special[name] = numbers[name]
    return Tokens(source, target, special["</s>"], special["<pad>"], special["<unk>"], language_ids)


def _nllb_language_ids(folder: Path, settings: Mapping[str, Any], after: int) -> dict[str, int]:
    """Ids by code. Files that give ids count for more than those that only list the codes, in the
    order of their ids from `after` on."""
    special = read_optional_json(folder / "special_tokens_map.json")
    listed: list[Any] = (
        settings.get("additional_special_tokens") or special.get("additional_special_tokens") or []
    )
    codes = [entry["content"] if isinstance(entry, dict) else entry for entry in listed]
    codes = [code for code in codes if NLLB_CODE.fullmatch(code)]
    language_ids = {code: number for number, code in enumerate(codes, start=after)}
    fast = read_optional_json(folder / "tokenizer.json").get("added_tokens") or []
    added = settings.get("added_tokens_decoder") or {}
    for numbers in (
        read_optional_json(folder / "added_tokens.json"),
        {entry["content"]: entry["id"] for entry in fast},
        {entry["content"]: int(number) for number, entry in added.items()},
    ):
        language_ids |= {code: n for code, n in numbers.items() if NLLB_CODE.fullmatch(code)}
    if not language_ids:
        raise TrainError(
            f"{folder}: there is no vocab.json of M2M100, and no tokenizer_config.json, "
            "tokenizer.json, added_tokens.json or special_tokens_map.json lists NLLB's languages"
        )
    return language_ids


def _numbers(path: Path) -> dict[str, int]:
    """Ids by text."""
    numbers = read_json(path)
    wrong = next((text for text, n in numbers.items() if type(n) is not int or n < 0), None)
    if wrong is not None:
        raise TrainError(f"{path}: {wrong!r} has the number {numbers[wrong]!r}")
    return numbers


def _by_number(numbers: Mapping[str, int]) -> dict[int, str]:
    return {number: text for text, number in numbers.items()}
