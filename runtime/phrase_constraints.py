"""Beam search in which phrases must appear: who decides which candidates a sentence goes on with.

The rules, beside those of search.py:

progress
    A beam has made progress of one for every token of a phrase that stands in it as a whole, and
    for every token of one that it is in the middle of. A phrase stands in a beam where its tokens
    do, neither of its ends within a longer word.
EOS
    does not exist for a beam that lacks a phrase; scores are the model's own. So every finished
    hypothesis has them all. Where max_length cuts off all others before there is one, the best of
    those is the result.
candidates
    are the best as ever; for each beam, the tokens that begin a phrase or go on with it; and for
    each beam its best token.
continue
    The candidates are divided by their progress. In turns each of these groups, from the most
    progress to the least, gives its best, until there are K beams. So beams that put a phrase where
    it fits compete only with those that did so too, and none of the groups starves (Post and Vilar
    2018, fast lexically constrained decoding with dynamic beam allocation).
finish
    Each EOS among the K best candidates with the most progress finishes a hypothesis.

Shapes: B sentences still running, K beams, T tokens so far, V vocabulary.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .beam_state import Beams
from .candidates import Candidates, best_candidates, largest, log_softmax
from .scripts import is_spaced_letter


@dataclass(frozen=True, slots=True)
class ForcedPhrase:
    """A text that must appear, as the tokens that may spell it: at least one spelling."""

    text: str
    spellings: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> int:
        """Tokens of the longest spelling."""
        return max(map(len, self.spellings))


_BYTE_NAME = re.compile("<0x([0-9A-F]{2})>")
# The first bytes in UTF-8 of the characters that are mostly letters of scripts with spaces.
_LETTERS_FIRST_BYTES = {*range(0xC3, 0xE2), *range(0xEA, 0xEE)}


@dataclass(frozen=True, slots=True, eq=False)
class WordEdges:
    """Where tokens go on with a word. Scripts without spaces have no such words.

    Attributes:
        continues: [V] whether a token goes on with the word before it
        ends_open: [V] whether it ends in a letter or digit that the next token may go on with
        byte_values: of the tokens that are a byte of a character, <0xC5>
    """

    continues: NDArray[np.bool_]
    ends_open: NDArray[np.bool_]
    byte_values: Mapping[int, int]

    @classmethod
    def of(cls, names: Sequence[str]) -> "WordEdges":
        """From the names of all tokens."""
        matches = [(token, _BYTE_NAME.fullmatch(name)) for token, name in enumerate(names)]
        byte_values = {token: int(match[1], 16) for token, match in matches if match}
        continues = np.array([bool(name) and is_spaced_letter(name[0]) for name in names])
        for token, value in byte_values.items():
            continues[token] = value in _LETTERS_FIRST_BYTES
        ends_open = np.array([bool(name) and is_spaced_letter(name[-1]) for name in names])
        return cls(continues, ends_open, byte_values)

    def is_open_after(self, ids: Sequence[int]) -> bool:
        """Whether tokens end in a letter or digit that the next token may go on with."""
        if not ids:
            return False
        if ids[-1] not in self.byte_values:
            return bool(self.ends_open[ids[-1]])
        values = [self.byte_values.get(token, ord(" ")) for token in ids[-4:]]
        return is_spaced_letter(bytes(values).decode("utf-8", "ignore")[-1:] or " ")


class PhraseProgress(NamedTuple):
    """How far a beam is with the phrases.

    Attributes:
        tokens: how many tokens of phrases it has
        is_complete: whether it has all phrases
        next_ids: tokens that begin a phrase that it lacks, or go on with one
        word_ended: whether the next token must not go on with the last word
    """

    tokens: int
    is_complete: bool
    next_ids: tuple[int, ...]
    word_ended: bool


class PhraseConstraints:
    """Chooses the candidates of a batch some of whose sentences have phrases that must appear."""

    def __init__(
        self,
        phrases: Sequence[Sequence[ForcedPhrase]],
        edges: WordEdges,
        eos_id: int,
        longest: Sequence[int],
    ) -> None:
        """phrases: of each sentence; longest: of each sentence the tokens of a beam, its target
        prefix among them, at which its limit of length ends the search."""
        self._phrases, self._edges = phrases, edges
        self._eos_id, self._longest = eos_id, longest
        self._has_finished = [False] * len(phrases)  # a hypothesis with all phrases
        self._known: list[dict[tuple[int, ...], PhraseProgress]] = [{} for _ in phrases]

    def __call__(self, logits: NDArray[np.float32], beams: Beams) -> Candidates:
        """The candidates of a step, given logits [B, K, V]."""
        progress = [
            [self.progress(sentence, tuple(ids)) for ids in sequences.tolist()]
            if self._phrases[sentence]
            else []
            for sentence, sequences in zip(beams.running.tolist(), beams.sequences, strict=True)
        ]
        best = best_candidates(logits, beams.scores)
        for row, of_beams in enumerate(progress):
            if of_beams:
                totals = beams.scores[row][:, None] + log_softmax(logits[row])
                for beam, made in enumerate(of_beams):
                    if not made.is_complete:
                        totals[beam, self._eos_id] = -np.inf
                    if made.word_ended:
                        totals[beam, self._edges.continues] = -np.inf
                sentence = int(beams.running[row])
                chosen = self._allocate(sentence, beams.sequences[row], of_beams, totals)
                best.scores[row], best.ids[row], best.origins[row] = chosen
        return best

    def progress(self, sentence: int, ids: tuple[int, ...]) -> PhraseProgress:
        """How far a sentence's beam is whose tokens, with the target prefix, are these."""
        known = self._known[sentence]
        if ids not in known:
            known[ids] = self._find(self._phrases[sentence], ids)
        return known[ids]

    def _find(self, phrases: Sequence[ForcedPhrase], ids: tuple[int, ...]) -> PhraseProgress:
        tokens, lacking, word_ended = 0, [], False
        for phrase in phrases:
            spelled, at_end = self._spelled(phrase, ids)
            tokens += spelled
            word_ended |= at_end
            if not spelled:
                lacking.append(phrase)
        spellings = [spelling for phrase in lacking for spelling in phrase.spellings]
        next_ids = {s[0] for s in spellings if self._may_begin(ids, len(ids), s)}
        begun = [(self._begun(spelling, ids), spelling) for spelling in spellings]
        longest = max((length for length, _ in begun), default=0)
        next_ids |= {spelling[longest] for length, spelling in begun if length == longest > 0}
        return PhraseProgress(tokens + longest, not lacking, tuple(sorted(next_ids)), word_ended)

    def _begun(self, spelling: tuple[int, ...], ids: tuple[int, ...]) -> int:
        """How many of a spelling's tokens, but not all, ids end in."""
        for length in range(min(len(spelling) - 1, len(ids)), 0, -1):
            begin = len(ids) - length
            if ids[begin:] == spelling[:length] and self._may_begin(ids, begin, spelling):
                return length
        return 0

    def _spelled(self, phrase: ForcedPhrase, ids: tuple[int, ...]) -> tuple[int, bool]:
        """The phrase's tokens, in its longest spelling, if it stands in ids, else 0; and whether it
        is at the end, so that a longer word must not become of it."""
        size = phrase.size
        for spelling in phrase.spellings:
            for begin in range(len(ids) - len(spelling), -1, -1):
                end = begin + len(spelling)
                if ids[begin:end] != spelling or not self._may_begin(ids, begin, spelling):
                    continue
                is_open = self._edges.is_open_after(spelling)
                if end == len(ids):
                    return size, is_open
                if not (is_open and self._edges.continues[ids[end]]):
                    return size, False
        return 0, False

    def _may_begin(self, ids: tuple[int, ...], place: int, spelling: tuple[int, ...]) -> bool:
        """Whether it is no part of the word before it there."""
        continues = bool(self._edges.continues[spelling[0]])
        return not (continues and self._edges.is_open_after(ids[max(0, place - 4) : place]))

    def _allocate(
        self,
        sentence: int,
        sequences: NDArray[np.int64],
        progress: Sequence[PhraseProgress],
        totals: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        """The 2K candidates of one sentence: scores, tokens, beams.

        Args:
            sequences: [K, T]
            totals: [K, V] score of every candidate
        """
        beam_size, vocab_size = totals.shape
        likely = largest(totals.ravel(), 2 * beam_size)
        pool = dict.fromkeys(divmod(int(cell), vocab_size) for cell in likely)
        for beam, made in enumerate(progress):
            pool |= dict.fromkeys((beam, token) for token in made.next_ids)
            pool[beam, int(totals[beam].argmax())] = None
        groups: dict[int, list[tuple[float, int, int]]] = {}
        wanted = sum(phrase.size for phrase in self._phrases[sentence])
        for beam, token in pool:
            score = float(totals[beam, token])
            if score == -np.inf:
                continue
            ids = (*sequences[beam].tolist(), token)
            ends = token == self._eos_id
            made = progress[beam] if ends else self.progress(sentence, ids)
            groups.setdefault(made.tokens, []).append((-score, beam, token))
        ranked = [sorted(groups[tokens]) for tokens in sorted(groups, reverse=True)]
        if sequences.shape[1] + 1 == self._longest[sentence]:  # max_length cuts off all that go on
            if wanted in groups:
                ranked = ranked[:1]
            elif self._has_finished[sentence]:
                ranked = []
        finishing = [c for c in (ranked[0] if ranked else [])[:beam_size] if c[2] == self._eos_id]
        going_on = _in_turns(
            [[c for c in group if c[2] != self._eos_id] for group in ranked], beam_size
        )
        self._has_finished[sentence] |= bool(finishing)
        if finishing and going_on and going_on[0] < finishing[0]:
            chosen = [going_on[0], *finishing, *going_on[1:]]
        else:
            chosen = [*finishing, *going_on]
        chosen = [*chosen, *[(np.inf, 0, 0)] * (2 * beam_size)][: 2 * beam_size]
        scores, beams, tokens = zip(*chosen, strict=True)
        return -np.array(scores, np.float32), np.array(tokens), np.array(beams)


def _in_turns(
    groups: list[list[tuple[float, int, int]]], count: int
) -> list[tuple[float, int, int]]:
    """The first of each group, then the second of each, until there are so many."""
    chosen = []
    for rank in range(max(map(len, groups), default=0)):
        chosen += [group[rank] for group in groups if rank < len(group)]
    return chosen[:count]
