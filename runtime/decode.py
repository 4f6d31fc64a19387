"""Search or sampling, as the options say, over any decoder."""

from collections.abc import Callable, Generator, Sequence

import numpy as np

from .options import DecodingOptions
from .processors import SearchContext, processors_for
from .sampling import sample_steps
from .search import Chooser, Decoder, ScoredIds, Unfinished, finish, search_steps
from .token_texts import TokenTexts

TargetPrefix = Sequence[int] | Sequence[Sequence[int]]


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
    unk_id: int | None = None,
    token_texts: Callable[[], TokenTexts] | None = None,
    target_prefix: TargetPrefix = (),
) -> list[list[ScoredIds]]:
    """Decode a batch with all of the options' rules.

    Args:
        decoder: of these sources, with beams(options) beams
        unk_id: the unknown token, which suppress_unk needs
        token_texts: returns what tokens say, which suppress_texts needs
        target_prefix: tokens that every translation begins with, or of each sentence its own, all
            equally many

    Returns:
        for each sentence its hypotheses, best first

    Raises:
        ModelError: the decoder gave no finite score
    """
    steps = decode_steps(
        decoder,
        sources,
        options,
        bos_id=bos_id,
        eos_id=eos_id,
        unk_id=unk_id,
        token_texts=token_texts,
        target_prefix=target_prefix,
    )
    return finish(steps)


def decode_steps(
    decoder: Decoder,
    sources: Sequence[Sequence[int]],
    options: DecodingOptions,
    *,
    bos_id: int,
    eos_id: int,
    unk_id: int | None = None,
    token_texts: Callable[[], TokenTexts] | None = None,
    target_prefix: TargetPrefix = (),
    choose: Chooser | None = None,
) -> Generator[Unfinished, None, list[list[ScoredIds]]]:
    """`decode`, one step after the other: yields how far it is, returns what `decode` returns.

    Args:
        choose: of a search, chooses the candidates; None is the rule
    """
    prefixes = np.array(target_prefix, np.int64)
    if prefixes.ndim == 1:
        prefixes = np.tile(prefixes, (len(sources), 1))
    context = SearchContext(eos_id, prefixes.shape[1], unk_id, token_texts)
    if options.temperature:
        return (
            yield from sample_steps(
                decoder,
                sources,
                options,
                bos_id=bos_id,
                eos_id=eos_id,
                target_prefix=prefixes,
                processors=processors_for(options, context),
            )
        )
    return (
        yield from search_steps(
            decoder,
            len(sources),
            options,
            bos_id=bos_id,
            eos_id=eos_id,
            target_prefix=prefixes,
            length_limits=[options.length_limit(len(source)) for source in sources],
            processors=processors_for(options, context),
            choose=choose,
        )
    )
