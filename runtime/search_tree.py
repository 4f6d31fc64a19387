"""The tree that a beam search grows: what each step chose from, and what became of it.

The search is that of search.py, and finds the same: whoever looks on changes nothing.

Shapes: K beams.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from .beam_state import Beams
from .candidates import Candidates, best_candidates
from .decode import decode_steps
from .options import DecodingOptions
from .processors import SearchContext, processors_for
from .search import Decoder, ScoredIds, final_score, finish
from .token_texts import TokenTexts


class Fate(StrEnum):
    """What becomes of a candidate."""

    KEPT = "kept"  # it is a beam of the next step
    FINISHED = "finished"  # it is a hypothesis
    DROPPED = "dropped"  # others were better, or the search ended


@dataclass(frozen=True, slots=True)
class TreeNode:
    """A candidate of a step.

    Attributes:
        token: what it adds to its parent; EOS too
        parent: the place of its parent among the candidates of the step before; None in step 0
        score: the sum of log-probabilities up to here, in nats
        log_prob: of this token, after the rules on logits
        fate: what became of it
        final_score: of a finished one, as search.py's rule "score" says
    """

    token: int
    parent: int | None
    score: float
    log_prob: float
    fate: Fate
    final_score: float | None = None


@dataclass(frozen=True, slots=True)
class SearchTree:
    """All steps of the search of one sentence.

    Attributes:
        prefix: the target prefix, which nothing is chosen from
        steps: the candidates of each step, at most 2K, best first
    """

    prefix: tuple[int, ...]
    steps: tuple[tuple[TreeNode, ...], ...]

    def line(self, step: int, place: int) -> list[int]:
        """The places, step by step, of a node's ancestors and of itself."""
        places: list[int] = []
        at: int | None = place
        for nodes in reversed(self.steps[: step + 1]):
            if at is None:
                break
            places.insert(0, at)
            at = nodes[at].parent
        return places

    def tokens(self, places: Sequence[int]) -> tuple[int, ...]:
        """The tokens of a line of nodes."""
        return tuple(nodes[place].token for nodes, place in zip(self.steps, places, strict=False))

    def path(self, ids: Sequence[int], eos_id: int) -> list[int]:
        """The places, step by step, of the nodes that led to a finished hypothesis.

        Args:
            ids: without target prefix and EOS

        Raises:
            ValueError: the search finished no such hypothesis
        """
        ended = [(*ids, eos_id), tuple(ids)]
        for step, nodes in enumerate(self.steps):
            for place, node in enumerate(nodes):
                if node.fate is Fate.FINISHED:
                    places = self.line(step, place)
                    if self.tokens(places) in ended:
                        return places
        raise ValueError(f"the search finished no hypothesis {list(ids)}")


def search_with_tree(
    decoder: Decoder,
    source: Sequence[int],
    options: DecodingOptions,
    *,
    bos_id: int,
    eos_id: int,
    unk_id: int | None = None,
    token_texts: Callable[[], TokenTexts] | None = None,
    target_prefix: Sequence[int] = (),
) -> tuple[list[ScoredIds], SearchTree]:
    """`decode.decode` for one source, and the tree of its search; sampling has a tree without
    steps.

    Raises:
        ModelError: the decoder gave no finite score
    """
    limit = options.length_limit(len(source))
    recorder = _Recorder(decoder, options, eos_id, len(target_prefix), limit)
    # With rules on logits the candidates are computed in numpy, else by the decoder: they are the
    # same bits as those of a search without a tree only if they come from the same place.
    context = SearchContext(eos_id, len(target_prefix), unk_id, token_texts)
    has_rules = bool(processors_for(options, context))
    steps = decode_steps(
        decoder if has_rules else recorder,
        [source],
        options,
        bos_id=bos_id,
        eos_id=eos_id,
        unk_id=unk_id,
        token_texts=token_texts,
        target_prefix=target_prefix,
        choose=recorder.choose if has_rules else None,
    )
    (found,) = finish(steps)
    tree = SearchTree(tuple(target_prefix), tuple(tuple(nodes) for nodes in recorder.steps))
    return found, tree


class _Recorder:
    """A decoder of one sentence that writes down what is chosen from in each step.

    Attributes:
        steps: the candidates of each step
    """

    def __init__(
        self,
        decoder: Decoder,
        options: DecodingOptions,
        eos_id: int,
        prefix_length: int,
        limit: int,
    ) -> None:
        """limit: the most tokens of a hypothesis."""
        self._decoder, self._options, self._eos_id = decoder, options, eos_id
        self._prefix_length, self._limit = prefix_length, limit
        self._prefix_left = prefix_length
        self.steps: list[list[TreeNode]] = []
        self._places: dict[tuple[int, int], int] = {}  # in the latest step, by origin and id

    def step(
        self,
        target_ids: NDArray[np.int64],
        beam_origin: NDArray[np.int64],
        scores: NDArray[np.float32],
    ) -> Candidates:
        """See `search.Decoder.step`."""
        candidates = self._decoder.step(target_ids, beam_origin, scores)
        if self._prefix_left:
            self._prefix_left -= 1
        else:
            self._record(target_ids[0], beam_origin[0], scores[0], candidates)
        return candidates

    def step_logits(
        self, target_ids: NDArray[np.int64], beam_origin: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """See `search.Decoder.step_logits`."""
        return self._decoder.step_logits(target_ids, beam_origin)

    def keep(self, sentences: NDArray[np.int64]) -> None:
        """See `search.Decoder.keep`."""
        self._decoder.keep(sentences)

    def choose(self, logits: NDArray[np.float32], beams: Beams, /) -> Candidates:
        """The rule "candidates"; see `search.Chooser`."""
        candidates = best_candidates(logits, beams.scores)
        self._record(beams.target_ids[0], beams.origins[0], beams.scores[0], candidates)
        return candidates

    def _record(
        self,
        target_ids: NDArray[np.int64],
        origins: NDArray[np.int64],
        scores: NDArray[np.float32],
        candidates: Candidates,
    ) -> None:
        """Write down a step that extends these beams [K] by these candidates [1, 2K]."""
        parents = self._mark_kept(target_ids, origins, scores)
        length = self._prefix_length + len(self.steps) + 1
        last = len(self.steps) + 1 >= self._limit
        nodes: list[TreeNode] = []
        self._places = {}
        rows = zip(candidates.scores[0], candidates.ids[0], candidates.origins[0], strict=True)
        for rank, (score, token, origin) in enumerate(rows):
            if not score > -np.inf:
                break  # no candidate, nor is any after it
            # The rules "finish" and "max_length" of search.py.
            finished = rank < len(scores) and (token == self._eos_id or last)
            nodes.append(
                TreeNode(
                    token=int(token),
                    parent=parents[origin] if parents else None,
                    score=float(score),
                    log_prob=float(score - scores[origin]),
                    fate=Fate.FINISHED if finished else Fate.DROPPED,
                    final_score=final_score(score, length, self._options) if finished else None,
                )
            )
            self._places[int(origin), int(token)] = rank
        self.steps.append(nodes)

    def _mark_kept(
        self,
        target_ids: NDArray[np.int64],
        origins: NDArray[np.int64],
        scores: NDArray[np.float32],
    ) -> list[int]:
        """Of each beam its place in the step before, where it is marked as kept."""
        if not self.steps:
            return []
        before, places = self.steps[-1], []
        rows = zip(origins.tolist(), target_ids.tolist(), scores.tolist(), strict=True)
        for origin, token, score in rows:
            place = self._places.get((origin, token), -1)
            places.append(place)
            if score > -np.inf:
                before[place] = replace(before[place], fate=Fate.KEPT)
        return places
