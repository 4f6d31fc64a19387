"""Marian's beam search, as src/translator/beam_search.cpp does it, for one sentence.

K hypotheses at first; each step keeps the best extensions of all, as many as hypotheses still run.
One that ends leaves, and the beam is one narrower from then on, until all K have ended.
"""

from collections.abc import Callable, Sequence

import numpy as np

LogProbs = Callable[[Sequence[int]], np.ndarray]  # of what follows these tokens, [V]


def marian_search(
    log_probs: LogProbs, size: int, eos_id: int, longest: int
) -> list[tuple[list[int], float]]:
    """Tokens, EOS among them, and mean log-probabilities; best first."""
    running: list[tuple[list[int], float]] = [([], 0.0)]
    finished: list[tuple[list[int], float]] = []
    left = size
    for _ in range(longest):
        candidates = []
        for tokens, score in running:
            row = log_probs(tokens)
            best = np.argsort(-row, kind="stable")[:left]
            candidates += [([*tokens, int(i)], score + float(row[i])) for i in best]
        candidates.sort(key=lambda candidate: -candidate[1])
        running = []
        for tokens, score in candidates[:left]:
            (finished if tokens[-1] == eos_id else running).append((tokens, score))
        left = len(running)
        if not left:
            break
    finished += running  # at the longest length
    scored = [(tokens, score / len(tokens)) for tokens, score in finished]
    return sorted(scored, key=lambda hypothesis: -hypothesis[1])
