"""Which sentences run together."""

from collections.abc import Iterator, Sequence

# What every step of a batch costs whatever its size (starting the operators, reading the
# weights), as a number of sentences.
STEP_COST = 8


def batches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices of sentences that run together, longest first, each index once.

    A batch holds at most max_tokens as sentences x longest, or a single sentence. Short sentences
    beside long ones are mostly padding, and small batches leave the processor idle: of all ways
    to cut the sorted sentences where their lengths change, this is the one with the smallest sum
    of longest x (sentences + STEP_COST).
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    cuts = _possible_cuts([lengths[index] for index in order], max_tokens)

    costs = [0] * len(cuts)  # lowest cost of all sentences from a cut to the end
    ends = [0] * len(cuts)  # where the batch that begins at a cut then ends
    for first in range(len(cuts) - 2, -1, -1):
        begin, longest = cuts[first], lengths[order[cuts[first]]]
        for last in range(first + 1, len(cuts)):
            size = cuts[last] - begin
            if size * longest > max_tokens and last > first + 1:
                break
            cost = longest * (size + STEP_COST) + costs[last]
            if last == first + 1 or cost <= costs[first]:
                costs[first], ends[first] = cost, last
    cut = 0
    while cut < len(cuts) - 1:
        yield order[cuts[cut] : cuts[ends[cut]]]
        cut = ends[cut]


def _possible_cuts(lengths: Sequence[int], max_tokens: int) -> list[int]:
    """Where a batch may begin among sentences sorted by length, and their number."""
    cuts = [0] if lengths else []
    for index in range(1, len(lengths)):
        size = index - cuts[-1]
        if lengths[index] < lengths[index - 1] or (size + 1) * lengths[index] > max_tokens:
            cuts.append(index)
    cuts.append(len(lengths))
    return cuts
