"""What callers pass in: texts and token ids, checked before anything is done with them."""

import operator
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from .options import DecodingOptions


def checked_sentences(sentences: Iterable[str]) -> list[str]:
    """A list of them, in their order.

    Raises:
        ValueError: it is no sequence of texts
    """
    if isinstance(sentences, (str, bytes)):
        raise ValueError("sentences is one text: give a list, or call translate()")
    table = getattr(sentences, "ndim", 1) != 1  # iterating over a DataFrame gives its columns
    if table or isinstance(sentences, (Mapping, Set)) or not isinstance(sentences, Iterable):
        raise ValueError(
            f"sentences is a {type(sentences).__name__}: give a list of texts, or one column"
        )
    checked = list(sentences)
    for index, sentence in enumerate(checked):
        if not isinstance(sentence, str):
            shown = repr(sentence)[:40]
            raise ValueError(f"sentence {index} is {shown}: it must be text (str)")
        try:
            sentence.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"sentence {index} holds {sentence[error.start]!r}, half of a surrogate pair: it is"
                " no valid text"
            ) from None
    return checked


def checked_ids(sources: Iterable[Sequence[int]], vocab_size: int) -> list[list[int]]:
    """The ids of every source as integers.

    Raises:
        ValueError: a source is empty, or holds what is no id of the model
    """
    checked = []
    for index, source in enumerate(sources):
        try:
            ids = [operator.index(token_id) for token_id in source]
        except TypeError:
            raise ValueError(f"source {index} is {repr(source)[:40]}: it must be ids") from None
        if not ids:
            raise ValueError(f"source {index} has no ids: it needs at least EOS")
        if min(ids) < 0 or max(ids) >= vocab_size:
            wrong = min(ids) if min(ids) < 0 else max(ids)
            raise ValueError(
                f"source {index} has the id {wrong}: the model's are 0 to {vocab_size - 1}"
            )
        checked.append(ids)
    return checked


def checked_options(
    options: DecodingOptions | None, usual: DecodingOptions, changes: Mapping[str, Any]
) -> DecodingOptions:
    """The options of one call: those given, or the usual ones, with changes.

    Raises:
        ValueError: they are no DecodingOptions, or a value is out of its range
        TypeError: there is no such option
    """
    if options is not None and not isinstance(options, DecodingOptions):
        raise ValueError(f"options is {options!r}: give DecodingOptions, or each by its name")
    return (usual if options is None else options).changed(**changes)


def checked_timeout(seconds: float) -> float:
    """The seconds.

    Raises:
        ValueError: they are no number above 0
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
        raise ValueError(f"timeout is {seconds!r}: it must be a number of seconds above 0")
    return seconds
