"""The best translations of a text, from the best of each of its sentences."""

import heapq
from collections.abc import Sequence


def best_combinations(scores: Sequence[Sequence[float]], count: int) -> list[tuple[int, ...]]:
    """Which hypothesis to take of each sentence, for the `count` best sums of scores, best first.

    A sum can only be among the best if another one that takes one step back in one sentence is
    better, so that few combinations are looked at (Huang and Chiang 2005, better k-best parsing,
    algorithm 2). And only the count - 1 sentences whose second hypotheses cost least can differ
    from their best: of any other, as many single changes come first.

    Args:
        scores: of each sentence's hypotheses, best first
        count: how many; there are fewer if there are not so many combinations
    """
    gaps = [(options[0] - options[1], at) for at, options in enumerate(scores) if len(options) > 1]
    places = [at for _, at in heapq.nsmallest(count - 1, gaps)]
    first = (0,) * len(places)
    waiting = [(0.0, first)]
    seen = {first}
    best: list[tuple[int, ...]] = []
    while waiting and len(best) < count:
        cost, chosen = heapq.heappop(waiting)
        whole = [0] * len(scores)
        for at, rank in zip(places, chosen, strict=True):
            whole[at] = rank
        best.append(tuple(whole))
        for index, at in enumerate(places):
            rank, options = chosen[index] + 1, scores[at]
            following = (*chosen[:index], rank, *chosen[index + 1 :])
            if rank < len(options) and following not in seen:
                seen.add(following)
                heapq.heappush(waiting, (cost + options[rank - 1] - options[rank], following))
    return best
