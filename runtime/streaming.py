"""Text as it settles: pieces of a translation that no later step can take back."""

from collections.abc import Callable, Generator, Sequence

from .errors import CancelledError
from .search import ScoredIds, Unfinished

_BROKEN = "\ufffd"  # what SentencePiece writes for bytes that are no whole character yet


def settled_text(
    steps: Generator[Unfinished, None, list[list[ScoredIds]]],
    prefix: Sequence[int],
    decode: Callable[[Sequence[int]], str],
    stop: Callable[[], bool] | None = None,
) -> Generator[str, None, None]:
    """The text of one sentence in pieces, as the steps of its search settle it.

    Args:
        steps: of a search for one sentence
        prefix: ids that its translation begins with, which are part of the text
        decode: ids to text
        stop: asked before every step; True ends it

    Raises:
        CancelledError: it was stopped
    """
    shown, seen = "", None
    while True:
        if stop is not None and stop():
            steps.close()
            raise CancelledError("the translation was cancelled")
        try:
            tokens = next(steps).settled(0)
        except StopIteration as end:
            text = decode([*prefix, *end.value[0][0].ids])
            if text != shown:
                yield text.removeprefix(shown)
            return
        if tokens == seen:
            continue
        seen = tokens
        text = decode([*prefix, *tokens])
        if text.startswith(shown) and text != shown and not text.endswith(_BROKEN):
            yield text.removeprefix(shown)
            shown = text
