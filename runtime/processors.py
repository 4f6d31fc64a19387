"""Rules on logits: what may, must not, or should less likely come next.

A rule is a `LogitsProcessor`: a function of the logits of a step and of the tokens written so
far. The step-by-step search applies them in the order in which their options are declared, before
the softmax; translate.onnx has some of the same rules as operators (export/graphs/rules.py).

Shapes: B sentences, K beams, T tokens written so far, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .options import DecodingOptions, declared_options
from .token_texts import TokenTexts


class LogitsProcessor(Protocol):
    """A rule on logits."""

    def __call__(
        self, logits: NDArray[np.float32], sequences: NDArray[np.int64], /
    ) -> NDArray[np.float32]:
        """Apply the rule to one step.

        Args:
            logits: [B, K, V], which the rule may change in place
            sequences: [B, K, T] tokens of every beam, the target prefix among them, BOS not

        Returns:
            [B, K, V]
        """
        ...


@dataclass(frozen=True, slots=True)
class SearchContext:
    """What rules may need to know beside the value of their option.

    Attributes:
        eos_id: the token that ends a sentence
        prefix_length: P, how many of the first tokens are the target prefix
        unk_id: the unknown token
        token_texts: returns what tokens say; None where they have no texts
    """

    eos_id: int
    prefix_length: int
    unk_id: int | None = None
    token_texts: Callable[[], TokenTexts] | None = None


def processors_for(options: DecodingOptions, context: SearchContext) -> list[LogitsProcessor]:
    """The rules that these options ask for; an option at its default needs none."""
    wanted = options.set_options()
    return [
        PROCESSORS[spec.processor](wanted[name], context)
        for name, _, spec in declared_options(type(options))
        if spec.processor and name in wanted
    ]


def min_length(least: int, context: SearchContext) -> LogitsProcessor:
    """EOS cannot come before `least` tokens follow the target prefix."""

    def process(logits: NDArray[np.float32], sequences: NDArray[np.int64]) -> NDArray[np.float32]:
        if sequences.shape[2] < context.prefix_length + least:
            logits[:, :, context.eos_id] = -np.inf
        return logits

    return process


def suppress_ids(ids: tuple[int, ...], _context: SearchContext) -> LogitsProcessor:
    """These tokens cannot come."""

    def process(logits: NDArray[np.float32], _sequences: NDArray[np.int64]) -> NDArray[np.float32]:
        logits[:, :, list(ids)] = -np.inf
        return logits

    return process


def suppress_texts(texts: tuple[str, ...], context: SearchContext) -> LogitsProcessor:
    """A token cannot come that would complete one of these texts, whatever tokens a text is cut
    into. The target prefix may begin a text, or hold it already."""
    if context.token_texts is None:
        raise ValueError("suppress_texts needs the texts of tokens: these tokens have none")
    token_texts = context.token_texts()
    completions = [token_texts.completions(text) for text in texts]
    whole = np.unique(np.concatenate([found.whole for found in completions]))
    after: dict[bytes, list[NDArray[np.int64]]] = {}
    for found in completions:
        for start, ids in found.after.items():
            after.setdefault(start, []).append(ids)
    sizes = sorted({len(start) for start in after})

    def process(logits: NDArray[np.float32], sequences: NDArray[np.int64]) -> NDArray[np.float32]:
        logits[:, :, whole] = -np.inf
        if sizes:
            for place in np.ndindex(sequences.shape[:2]):
                said = token_texts.ending(sequences[place].tolist(), sizes[-1])
                for size in sizes:
                    for ids in after.get(said[-size:], ()):
                        logits[*place, ids] = -np.inf
        return logits

    return process


def suppress_unk(_value: bool, context: SearchContext) -> LogitsProcessor:
    """The unknown token cannot come."""
    if context.unk_id is None:
        raise ValueError("suppress_unk needs to know which token is the unknown one")
    return suppress_ids((context.unk_id,), context)


def repetition_penalty(penalty: float, _context: SearchContext) -> LogitsProcessor:
    """The logit of a token that a beam has written already is divided by the penalty where it is
    positive, and multiplied by it where it is negative (Keskar et al. 2019, CTRL, section 4.1)."""
    factor = np.float32(penalty)

    def process(logits: NDArray[np.float32], sequences: NDArray[np.int64]) -> NDArray[np.float32]:
        written = np.take_along_axis(logits, sequences, axis=2)
        penalized = np.where(written < 0, written * factor, written / factor)
        np.put_along_axis(logits, sequences, penalized, axis=2)
        return logits

    return process


def no_repeat_ngram_size(size: int, _context: SearchContext) -> LogitsProcessor:
    """A token cannot come that would complete a sequence of `size` tokens which its beam has
    written already."""

    def process(logits: NDArray[np.float32], sequences: NDArray[np.int64]) -> NDArray[np.float32]:
        length = sequences.shape[2]
        if length < size:
            return logits
        windows = np.lib.stride_tricks.sliding_window_view(sequences, size, axis=2)
        newest = sequences[:, :, None, length - size + 1 :]  # [B, K, 1, size - 1]
        repeats = (windows[..., :-1] == newest).all(axis=3)  # [B, K, T - size + 1]
        sentence, beam, start = np.nonzero(repeats)
        logits[sentence, beam, windows[sentence, beam, start, -1]] = -np.inf
        return logits

    return process


# By the names that options.py refers to.
PROCESSORS: dict[str, Callable[[Any, SearchContext], LogitsProcessor]] = {
    "min_length": min_length,
    "suppress_ids": suppress_ids,
    "suppress_texts": suppress_texts,
    "suppress_unk": suppress_unk,
    "repetition_penalty": repetition_penalty,
    "no_repeat_ngram_size": no_repeat_ngram_size,
}
