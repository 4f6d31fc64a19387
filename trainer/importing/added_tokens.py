"""Tokens that were added to a tokenizer: text is split at them before SentencePiece segments it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tfm.trainer.errors import TrainError

from .files import TransformersFolder
from .sentencepiece_ids import NOT_TEXT


@dataclass(frozen=True, slots=True)
class AddedTokens:
    """Ids of the added tokens by their text, and the texts that are special tokens: transformers
    leaves those out of what it decodes."""

    ids: dict[str, int]
    special: frozenset[str]

    def without(self, texts: Collection[str]) -> "AddedTokens":
        """Those that are none of texts."""
        ids = {text: number for text, number in self.ids.items() if text not in texts}
        return AddedTokens(ids, self.special.intersection(ids))


def read_added_tokens(
    folder: TransformersFolder, vocabulary: Mapping[str, int], assumed: Mapping[str, int]
) -> AddedTokens:
    """The added tokens of a folder, of whichever files list them.

    Args:
        vocabulary: ids by text
        assumed: ids of special tokens that no file gives an id

    Raises:
        TrainError: files contradict each other or the vocabulary, a token has no id, or it is
            found in text in a way that tfm does not have
    """
    settings = folder.read_optional_json("tokenizer_config.json")
    ids: dict[str, int] = {}
    special: set[str] = set()
    for name, text, number, entry in _entries(folder, settings):
        where = folder.path / name
        if type(text) is not str or not text or type(number) is not int or number < 0:
            raise TrainError(f"{where}: added token {text!r} has the id {number!r}")
        if text in NOT_TEXT:
            continue
        if entry.get("special") is True:
            special.add(text)
        if entry.get("single_word") is True:
            raise TrainError(
                f"{where}: the added token {text!r} is to be found as a word only "
                "(single_word): not supported"
            )
        if ids.setdefault(text, number) != number or vocabulary.get(text, number) != number:
            other = ids[text] if ids[text] != number else vocabulary[text]
            raise TrainError(f"{where}: the added token {text!r} has the ids {number} and {other}")
    for text in _additional_special_tokens(folder, settings):
        if text in NOT_TEXT:
            continue
        if text in ids:
            special.add(text)
        elif text in vocabulary or text in assumed:
            ids[text] = vocabulary[text] if text in vocabulary else assumed[text]
            special.add(text)
        else:
            raise TrainError(
                f"{folder.path}: no file says which id the additional special token {text!r} has"
            )
    if ids and settings.get("split_special_tokens") is True:
        raise TrainError(
            f"{folder.path / 'tokenizer_config.json'}: split_special_tokens is true: not supported"
        )
    return AddedTokens(ids, frozenset(special))


def _entries(
    folder: TransformersFolder, settings: Mapping[str, Any]
) -> list[tuple[str, Any, Any, Mapping[str, Any]]]:
    """File, text, id and attributes of every entry."""
    entries: list[tuple[str, Any, Any, Mapping[str, Any]]] = []
    decoder = _table(settings.get("added_tokens_decoder"), folder, "tokenizer_config.json")
    for number, entry in decoder.items():
        entry = _table(entry, folder, "tokenizer_config.json")
        whole = int(number) if number.isascii() and number.isdigit() else number
        entries.append(("tokenizer_config.json", entry.get("content"), whole, entry))
    for text, number in folder.read_optional_json("added_tokens.json").items():
        entries.append(("added_tokens.json", text, number, {}))
    listed = folder.read_optional_json("tokenizer.json").get("added_tokens") or []
    if not isinstance(listed, list):
        raise TrainError(f"{folder.path / 'tokenizer.json'}: added_tokens is no list")
    for entry in listed:
        entry = _table(entry, folder, "tokenizer.json")
        entries.append(("tokenizer.json", entry.get("content"), entry.get("id"), entry))
    return entries


def _additional_special_tokens(
    folder: TransformersFolder, settings: Mapping[str, Any]
) -> list[str]:
    special = folder.read_optional_json("special_tokens_map.json")
    found: dict[str, None] = {}
    for tree in (settings, special):
        listed = tree.get("additional_special_tokens") or []
        if not isinstance(listed, list):
            raise TrainError(f"{folder.path}: additional_special_tokens is {listed!r}: no list")
        found |= dict.fromkeys(content_of(token) for token in listed)
    return list(found)


def content_of(token: Any) -> str:
    """The text of a token, which is a string or a table with its attributes.

    Raises:
        TrainError: it is neither
    """
    text = token.get("content") if isinstance(token, dict) else token
    if not isinstance(text, str):
        raise TrainError(f"{token!r} is no token: a string or a table with `content` is needed")
    return text


def _table(value: Any, folder: TransformersFolder, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TrainError(f"{folder.path / name}: {value!r} is no table")
    return value
