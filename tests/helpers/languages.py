"""Languages for searches: what a prefix says of the next token, as plain Python functions."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from tfm.runtime.candidates import Candidates
from tfm.trainer.data.batches import pad
from tfm.trainer.model import Transformer

# Tokens after BOS to logits [V] of the next one.
Language = Callable[[tuple[int, ...]], NDArray[np.float32]]


class LanguageDecoder:
    """`search.Decoder` over languages, one per sentence, whose cache is the prefix of every beam.

    Attributes:
        batch_sizes: how many sentences each step had
    """

    def __init__(self, languages: list[Language], beam_size: int) -> None:
        self.languages = list(languages)
        self.prefixes: list[list[tuple[int, ...]]] = [[()] * beam_size for _ in languages]
        self.batch_sizes: list[int] = []

    def step(
        self,
        target_ids: NDArray[np.int64],
        beam_origin: NDArray[np.int64],
        scores: NDArray[np.float32],
    ) -> Candidates:
        assert scores.dtype == np.float32
        assert scores.shape == target_ids.shape
        log_probs = log_softmax(self.step_logits(target_ids, beam_origin))  # [B, K, V]
        batch_size, beam_size, vocab_size = log_probs.shape
        totals = (scores[:, :, None] + log_probs).reshape(batch_size, -1)
        best = np.argsort(-totals, axis=1, kind="stable")[:, : 2 * beam_size]
        origins, ids = np.divmod(best, vocab_size)
        return Candidates(np.take_along_axis(totals, best, axis=1), ids, origins)

    def step_logits(
        self, target_ids: NDArray[np.int64], beam_origin: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        assert target_ids.dtype == beam_origin.dtype == np.int64
        assert target_ids.shape == beam_origin.shape
        assert len(target_ids) == len(self.languages)
        self.batch_sizes.append(len(target_ids))
        self.prefixes = [
            [(*before[origin], token) for origin, token in zip(origins, tokens, strict=True)]
            for before, origins, tokens in zip(
                self.prefixes, beam_origin.tolist(), target_ids.tolist(), strict=True
            )
        ]
        return np.stack(
            [
                [language(prefix[1:]) for prefix in beams]
                for language, beams in zip(self.languages, self.prefixes, strict=True)
            ]
        )

    def keep(self, sentences: NDArray[np.int64]) -> None:
        self.languages = [self.languages[sentence] for sentence in sentences]
        self.prefixes = [self.prefixes[sentence] for sentence in sentences]


def model_language(model: Transformer, source: list[int]) -> Language:
    """What PyTorch says of a source sentence, one prefix at a time, each computed once."""
    with torch.no_grad():
        memory, bias = model.encode(pad([source], model.config.pad_id))
    known: dict[tuple[int, ...], NDArray[np.float32]] = {}

    @torch.no_grad()
    def logits(prefix: tuple[int, ...]) -> NDArray[np.float32]:
        if prefix not in known:
            ids = torch.tensor([[model.config.bos_id, *prefix]])
            last = model.decode(ids, memory, bias)[0, -1]
            known[prefix] = model.next_logits(last).numpy()
        return known[prefix]

    return logits


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-probabilities over the last axis, computed in double precision."""
    exact = logits.astype(np.float64)
    with np.errstate(divide="ignore"):
        total = np.log(np.exp(exact).sum(axis=-1, keepdims=True))
    return np.asarray(exact - np.where(np.isneginf(total), 0, total), np.float32)
