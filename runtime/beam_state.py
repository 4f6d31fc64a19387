"""The beams of the sentences of a batch that still run.

Shapes: B sentences still running, K beams, T tokens so far.
"""

import numpy as np
from numpy.typing import NDArray

from .candidates import Candidates


class Beams:
    """The state of the sentences that still run.

    Attributes:
        running: [B] their indices in the batch
        sequences: [B, K, T] tokens of every beam, the target prefix among them
        scores: [B, K]
        target_ids: [B, K] the newest tokens
        origins: [B, K] the beams of the previous step that these continue
        best_was_eos: [B] whether the best candidate of some step was EOS
    """

    def __init__(
        self,
        running: NDArray[np.int64],
        sequences: NDArray[np.int64],
        scores: NDArray[np.float32],
        target_ids: NDArray[np.int64],
    ) -> None:
        self.running = running
        self.sequences = sequences
        self.scores = scores
        self.target_ids = target_ids
        self.origins = np.zeros_like(target_ids)
        self.best_was_eos = np.zeros(len(running), dtype=bool)

    @classmethod
    def start(cls, batch_size: int, beam_size: int, bos_id: int) -> "Beams":
        """The rule "start"."""
        scores = np.full((batch_size, beam_size), -np.inf, dtype=np.float32)
        scores[:, 0] = 0
        return cls(
            np.arange(batch_size),
            np.empty((batch_size, beam_size, 0), dtype=np.int64),
            scores,
            np.full((batch_size, beam_size), bos_id, dtype=np.int64),
        )

    def take_prefix(self, tokens: NDArray[np.int64]) -> None:
        """The rule "target prefix" for one token of every sentence, [B]."""
        batch_size, beam_size = self.scores.shape
        self.target_ids = np.repeat(tokens[:, None], beam_size, axis=1)
        self.origins = np.tile(np.arange(beam_size), (batch_size, 1))
        self.sequences = np.concatenate([self.sequences, self.target_ids[:, :, None]], axis=2)

    def advance(
        self, candidates: Candidates, chosen: NDArray[np.int64], running: NDArray[np.int64]
    ) -> None:
        """Let the chosen candidates [B, K] be the beams, and keep some sentences only."""
        chosen = chosen[running]
        by_sentence = running[:, None]
        self.running, self.best_was_eos = self.running[running], self.best_was_eos[running]
        self.scores = candidates.scores[by_sentence, chosen]
        self.target_ids = candidates.ids[by_sentence, chosen]
        self.origins = candidates.origins[by_sentence, chosen]
        continued = self.sequences[by_sentence, self.origins]
        self.sequences = np.concatenate([continued, self.target_ids[:, :, None]], axis=2)
