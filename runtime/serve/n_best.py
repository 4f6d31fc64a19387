"""The best translations of a text, from the best of each of its sentences."""

import heapq
from collections.abc import Sequence


def best_combinations(scores: Sequence[Sequence[float]], count: int) -> list[tuple[int, ...]]:
    """Which hypothesis to take of each sentence, for the `count` best sums of scores, best first.

    A sum can only be among the best if another one that takes one step back in one sentence is
    better, so that few combinations are looked at (Huang and Chiang 2005, better k-best parsing,
    algorithm 2).

    Args:
        scores: of each sentence's hypotheses, best first
        count: how many; there are fewer if there are not so many combinations
    """
    first = (0,) * len(scores)
    waiting = [(-sum(options[0] for options in scores), first)]
    seen = {first}
    best: list[tuple[int, ...]] = []
    while waiting and len(best) < count:
        cost, chosen = heapq.heappop(waiting)
        best.append(chosen)
        for sentence, options in enumerate(scores):
            rank = chosen[sentence] + 1
            following = (*chosen[:sentence], rank, *chosen[sentence + 1 :])
            if rank < len(options) and following not in seen:
                seen.add(following)
                heapq.heappush(waiting, (cost + options[rank - 1] - options[rank], following))
    return best
