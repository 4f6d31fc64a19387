"""Which sentences run together, and which side by side."""

from collections.abc import Iterator, Sequence

# What every step of a batch costs whatever its size (starting the operators, reading the
# weights), as a number of sentences.
STEP_COST = 8
# Two threads that share sentences have this share of twice the speed of one, or one has them all:
# the steps of small batches cost nearly as much as those of large ones.
LEAST_EFFICIENCY = 0.75


def side_by_side(
    lengths: Sequence[int], max_tokens: int, beam_size: int, threads: int
) -> list[list[int]]:
    """Batches for some threads, which take one after the other: indices of sentences, each once.

    All batches that run at the same time hold at most max_tokens together, as
    sentences x beams x longest; or single sentences.
    """
    parts = shares(lengths, beam_size, threads)
    budget = max_tokens // beam_size // threads
    return [
        [part[index] for index in batch]
        for part in parts
        for batch in batches([lengths[index] for index in part], budget)
    ]


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


def shares(lengths: Sequence[int], beam_size: int, threads: int) -> list[list[int]]:
    """Indices of sentences for each of some threads, longest first; each index once.

    The shares cost about the same. There are as many as there are threads, or fewer where more
    would be too small to pay: a step of one sentence takes hardly longer than one of none.

    Args:
        lengths: tokens of each sentence
        beam_size: rows that a sentence has in a step
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    for count in range(min(threads, len(order)), 1, -1):
        cut = _cut(order, lengths, count)
        longest = max(_cost_of_share(share, lengths, beam_size) for share in cut)
        if _cost_of_share(order, lengths, beam_size) >= LEAST_EFFICIENCY * count * longest:
            return cut
    return [order] if order else []


def _cut(order: list[int], lengths: Sequence[int], count: int) -> list[list[int]]:
    """Cut sorted sentences into that many parts, none empty, with about equal numbers of tokens."""
    parts: list[list[int]] = []
    first, tokens = 0, sum(lengths)
    for remaining in range(count, 1, -1):
        end, size = first + 1, lengths[order[first]]
        while (
            end <= len(order) - remaining and size + lengths[order[end]] / 2 <= tokens / remaining
        ):
            size += lengths[order[end]]
            end += 1
        parts.append(order[first:end])
        first, tokens = end, tokens - size
    return [*parts, order[first:]]


def _cost_of_share(share: Sequence[int], lengths: Sequence[int], beam_size: int) -> int:
    """Of its rows, if batches have no padding, and of the steps of one batch."""
    return beam_size * sum(lengths[index] for index in share) + STEP_COST * lengths[share[0]]


def _possible_cuts(lengths: Sequence[int], max_tokens: int) -> list[int]:
    """Where a batch may begin among sentences sorted by length, and their number."""
    cuts = [0] if lengths else []
    for index in range(1, len(lengths)):
        size = index - cuts[-1]
        if lengths[index] < lengths[index - 1] or (size + 1) * lengths[index] > max_tokens:
            cuts.append(index)
    cuts.append(len(lengths))
    return cuts
