"""Search or sampling, as the options say, over any decoder."""

from collections.abc import Generator, Sequence

import numpy as np

from .options import DecodingOptions
from .processors import SearchContext, processors_for
from .sampling import sample_steps
from .search import Chooser, Decoder, ScoredIds, Unfinished, finish, search_steps


def beams(options: DecodingOptions) -> int:
    """K: how many beams of a sentence the decoder must have."""
    return options.num_hypotheses if options.temperature else options.beam_size


def decode(
    decoder: Decoder,
    sources: Sequence[Sequence[int]],
    options: DecodingOptions,
    *,
    bos_id: int,
    eos_id: int,
    target_prefix: Sequence[int] = (),
) -> list[list[ScoredIds]]:
    """Decode a batch with all of the options' rules.

    Args:
        decoder: of these sources, with beams(options) beams
        target_prefix: tokens that every translation begins with

    Returns:
        for each sentence its hypotheses, best first

    Raises:
        ModelError: the decoder gave no finite score
    """
    steps = decode_steps(
        decoder, sources, options, bos_id=bos_id, eos_id=eos_id, target_prefix=target_prefix
    )
    return finish(steps)


def decode_steps(
    decoder: Decoder,
    sources: Sequence[Sequence[int]],
    options: DecodingOptions,
    *,
    bos_id: int,
    eos_id: int,
    target_prefix: Sequence[int] = (),
    choose: Chooser | None = None,
) -> Generator[Unfinished, None, list[list[ScoredIds]]]:
    """`decode`, one step after the other: yields how far it is, returns what `decode` returns.

    Args:
        choose: of a search, chooses the candidates; None is the rule
    """
    processors = processors_for(options, SearchContext(eos_id, len(target_prefix)))
    if options.temperature:
        return (
            yield from sample_steps(
                decoder,
                sources,
                options,
                bos_id=bos_id,
                eos_id=eos_id,
                target_prefix=target_prefix,
                processors=processors,
            )
        )
    return (
        yield from search_steps(
            decoder,
            len(sources),
            options,
            bos_id=bos_id,
            eos_id=eos_id,
            target_prefix=np.tile(np.array(target_prefix, np.int64), (len(sources), 1)),
            processors=processors,
            choose=choose,
        )
    )
