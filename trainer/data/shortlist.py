"""Lexical shortlists: the target tokens that a sentence may be translated with, by its tokens.

A decoder that computes the logits of these alone is faster (Schwenk 2007; Jean et al. 2015, "On
Using Very Large Target Vocabulary for Neural Machine Translation", section 3.1). They are, for
every source token, the targets that IBM model 1 finds most probable and the token of the same
text; and for every sentence the tokens that are frequent, or that copy what has no translation:
digits, punctuation, single letters and bytes.

Shapes: V source vocabulary.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sentencepiece
from numpy.typing import NDArray
from tqdm import tqdm

from tfm.runtime.files.atomic import replace_file
from tfm.trainer.config import TransformerConfig
from tfm.trainer.errors import TrainError
from tfm.trainer.importing.npz import read_npz

from .batches import EncodedText
from .corpora import Corpora, draw_sample
from .vocabulary import Vocabulary
from .word_alignment import align, target_counts

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
AGAIN = "make it again with `tfm shortlist`"
PER_SOURCE, FREQUENT = 200, 2000  # targets per source token, and of every sentence
MOST_TOKENS = 60  # longer pairs say little: each token is linked with each
MIN_PROBABILITY = 1e-4  # of a target that is listed
SPACE = "▁"  # how SentencePiece writes one
LAST_LETTER = 0x2E80  # scripts of letters come before it, those of syllables and words after


@dataclass(frozen=True, slots=True)
class Shortlist:
    """Which target tokens each source token brings along.

    Attributes:
        always: [A] ids that every sentence may use, EOS among them, ascending
        starts: [V + 1] where the list of each source id begins in `targets`, and where the last
            ends
        targets: [X] ids, none of them in `always`
        vocabulary: digest of the vocabulary that the ids are of
    """

    always: NDArray[np.int64]
    starts: NDArray[np.int64]
    targets: NDArray[np.int64]
    vocabulary: str

    def of(self, source_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The ids that a sentence with these source ids may use, ascending."""
        lists = [self.targets[self.starts[i] : self.starts[i + 1]] for i in np.unique(source_ids)]
        return np.unique(np.concatenate([self.always, *lists]))

    def save(self, path: Path) -> None:
        """Write an .npz archive of whole numbers with the arrays `format_version`, `always`,
        `starts`, `targets`, and `vocabulary`, the bytes of the digest."""
        with replace_file(path) as partial, partial.open("wb") as file:
            np.savez(
                file,
                format_version=np.int32(FORMAT_VERSION),
                vocabulary=np.frombuffer(bytes.fromhex(self.vocabulary), np.uint8),
                always=self.always.astype(np.int32),
                starts=self.starts.astype(np.int32),
                targets=self.targets.astype(np.int32),
            )

    @classmethod
    def load(cls, path: Path, vocabulary: Vocabulary, config: TransformerConfig) -> "Shortlist":
        """Read what `save` wrote.

        Raises:
            TrainError: it is missing, damaged, or of another vocabulary
        """
        arrays = read_npz(path)
        try:
            if arrays["format_version"] != FORMAT_VERSION:
                raise TrainError(f"{path}: of another version; {AGAIN}")
            found = cls(
                always=arrays["always"].astype(np.int64),
                starts=arrays["starts"].astype(np.int64),
                targets=arrays["targets"].astype(np.int64),
                vocabulary=arrays["vocabulary"].tobytes().hex(),
            )
        except (KeyError, ValueError) as error:
            raise TrainError(f"{path}: not a shortlist, or damaged; {AGAIN}") from error
        if found.vocabulary != vocabulary.digest:
            raise TrainError(f"{path}: of another model's vocabulary; {AGAIN} for this checkpoint")
        found._check(path, config)
        return found

    def _check(self, path: Path, config: TransformerConfig) -> None:
        """Raise TrainError where a graph would read beyond a list or write what is no token."""
        if not (self.always.ndim == self.starts.ndim == self.targets.ndim == 1):
            raise TrainError(f"{path}: damaged; {AGAIN}")
        ids = np.concatenate([self.always, self.targets])
        if (
            len(self.starts) != config.source_vocab_size + 1
            or self.starts[0] != 0
            or self.starts[-1] != len(self.targets)
            or (np.diff(self.starts) < 0).any()
            or ids.min(initial=0) < 0
            or ids.max(initial=0) >= config.target_vocab_size
            or config.eos_id not in self.always
            or self.starts[config.pad_id] != self.starts[config.pad_id + 1]
        ):
            raise TrainError(f"{path}: damaged; {AGAIN}")


def learn_shortlist(
    corpora: Corpora,
    vocabulary: Vocabulary,
    config: TransformerConfig,
    pairs: int,
    per_source: int = PER_SOURCE,
    frequent: int = FREQUENT,
) -> Shortlist:
    """`make_shortlist` of at most `pairs` pairs, drawn from the corpora by their weights.

    Raises:
        TrainError: a corpus cannot be read, or no pair is left
    """
    reading = tqdm(
        corpora, "reading", unit=" pairs", mininterval=1.0, delay=2.0, dynamic_ncols=True
    )
    text = draw_sample(corpora, pairs, seed=1, read=reading)
    logger.info("cutting %d pairs into tokens", len(text))
    encoded = EncodedText.of(text, vocabulary, config, MOST_TOKENS)
    return make_shortlist(encoded, vocabulary, config, per_source=per_source, frequent=frequent)


def make_shortlist(
    text: EncodedText,
    vocabulary: Vocabulary,
    config: TransformerConfig,
    *,
    per_source: int = PER_SOURCE,
    frequent: int = FREQUENT,
) -> Shortlist:
    """Learn a shortlist from parallel text.

    Args:
        per_source: the most targets that a source token brings along
        frequent: how many of the most frequent targets every sentence may use
    """
    prefix, pairs = len(config.target_prefix), np.arange(len(text))
    size = config.target_vocab_size
    always = np.zeros(size, bool)
    always[[config.eos_id, config.unk_id]] = True
    always[list(_copying(vocabulary.target, size))] = True
    counts = target_counts(text, pairs, size, target_prefix=prefix)
    order = np.argsort(-counts, kind="stable")[:frequent]
    always[order[counts[order] > 0]] = True
    always[[config.bos_id, config.pad_id]] = [config.bos_id == config.eos_id, False]

    table = align(text, pairs, size, target_prefix=prefix)
    sources, targets = table.without(np.flatnonzero(always)).best(per_source, MIN_PROBABILITY)
    same = np.array(list(_same_text(vocabulary, config)), np.int64).reshape(-1, 2)
    links = np.concatenate([np.stack([sources, targets], 1), same[~always[same[:, 1]]]])
    links = np.unique(links[links[:, 0] != config.pad_id], axis=0)
    return Shortlist(
        always=np.flatnonzero(always),
        starts=np.searchsorted(links[:, 0], np.arange(config.source_vocab_size + 1)),
        targets=links[:, 1],
        vocabulary=vocabulary.digest,
    )


def _copying(target: sentencepiece.SentencePieceProcessor, size: int) -> Iterator[int]:
    """Ids of the pieces that copy what has no translation: bytes, digits, punctuation, and single
    letters of a script that has letters, not syllables or words."""
    for token in range(min(size, target.vocab_size())):
        text = target.id_to_piece(token).replace(SPACE, "")
        letter = len(text) == 1 and ord(text) < LAST_LETTER
        copies = letter or not any(map(str.isalpha, text))
        if target.is_byte(token) or (copies and not target.is_control(token)):
            yield token


def _same_text(vocabulary: Vocabulary, config: TransformerConfig) -> Iterator[tuple[int, int]]:
    """Source and target ids of pieces with the same text, with and without a space before it."""
    source, target = vocabulary.source, vocabulary.target
    for token in range(min(config.source_vocab_size, source.vocab_size())):
        text = source.id_to_piece(token).removeprefix(SPACE)
        if source.is_control(token) or not text:
            continue
        for piece in (text, SPACE + text):
            found = target.piece_to_id(piece)
            if found != target.unk_id() and found < config.target_vocab_size:
                yield token, found
