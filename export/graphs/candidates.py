"""The best candidates of a step from its logits, with few and fast operators.

TopK over all K x V numbers of a sentence would be slow. So the vocabulary is cut into blocks, TopK
finds the 2K blocks with the largest maxima, and a second TopK looks only into those blocks.

Shapes: B sentences, K beams, N = B x K rows, V vocabulary, U = V / BLOCK, rounded up.
"""

from dataclasses import dataclass

import numpy as np

from .builder import GraphBuilder

BLOCK = 64


@dataclass(frozen=True, slots=True)
class CandidateTensors:
    """The best candidates of every sentence, best first: three tensors [B, 2K] or [B, 1].

    A candidate is a beam and a token to append to it. Of equally good candidates the one with the
    lower beam comes first, then the one with the lower token.

    Attributes:
        scores: the beam's score plus the token's log-probability
        ids: the token
        rows: the beam's row, 0 to N - 1
    """

    scores: str
    ids: str
    rows: str


@dataclass(frozen=True, slots=True)
class Grid:
    """How rows and blocks are numbered; it depends on B, K and V alone.

    Attributes:
        blocks: U
        first_rows: [B, 1] the row of each sentence's first beam
        first_blocks: [B, 1] the first block of that row, counted over all rows
        twice_beams: [1] 2K
        by_sentence: [2] the shape B, -1
    """

    blocks: int
    first_rows: str
    first_blocks: str
    twice_beams: str
    by_sentence: str


def grid(b: GraphBuilder, scores: str, vocab_size: int) -> Grid:
    """Append the tensors of a Grid, given the beams' scores [B, K]."""
    batch, beams = b.size(scores, 0), b.size(scores, 1)
    blocks = _count(vocab_size)
    sentences = b.Range(b.int64(0), b.Squeeze(batch), b.int64(1))
    first_rows = b.Unsqueeze(b.Mul(sentences, beams), b.int64([1]))
    return Grid(
        blocks=blocks,
        first_rows=first_rows,
        first_blocks=b.Mul(first_rows, b.int64(blocks)),
        twice_beams=b.Add(beams, beams),
        by_sentence=b.Concat(batch, b.int64([-1]), axis=0),
    )


def best_candidates(
    b: GraphBuilder, logits: str, scores: str, grid: Grid, vocab_size: int
) -> CandidateTensors:
    """Find the 2K best candidates of every sentence.

    All of them lie in the 2K blocks with the largest maxima.

    Args:
        logits: [N, V]
        scores: [B, K]
    """
    by_row = b.Reshape(scores, b.int64([-1, 1]))
    blocks, maxima = _blocks(b, logits, vocab_size)
    if grid.blocks == 1:  # one block holds the whole vocabulary: look into all of them
        totals = b.Reshape(b.Add(blocks, by_row), grid.by_sentence)
        values, indices = b.TopK(totals, grid.twice_beams, outputs=2, axis=1)
        block = b.Add(b.Div(indices, b.int64(BLOCK)), grid.first_blocks)
    else:
        totals = b.Reshape(b.Add(maxima, by_row), grid.by_sentence)
        _, best_blocks = b.TopK(totals, grid.twice_beams, outputs=2, axis=1)
        # Sorted, so that the second TopK too gives ties to the lower index.
        in_order, _ = b.TopK(best_blocks, grid.twice_beams, outputs=2, axis=1, largest=0)
        best_blocks = b.Add(in_order, grid.first_blocks)  # [B, 2K]
        log_probs = b.Gather(blocks, best_blocks, axis=0)  # [B, 2K, BLOCK]
        rows = b.Div(best_blocks, b.int64(grid.blocks))
        beam_scores = b.Gather(by_row, rows, axis=0)  # [B, 2K, 1]
        totals = b.Reshape(b.Add(log_probs, beam_scores), grid.by_sentence)
        values, indices = b.TopK(totals, grid.twice_beams, outputs=2, axis=1)
        block = b.GatherElements(best_blocks, b.Div(indices, b.int64(BLOCK)), axis=1)
    offset = b.Mod(indices, b.int64(BLOCK))
    return CandidateTensors(
        scores=values,
        ids=_token(b, b.Mod(block, b.int64(grid.blocks)), offset, vocab_size),
        rows=b.Div(block, b.int64(grid.blocks)),
    )


def best_token(b: GraphBuilder, logits: str, vocab_size: int) -> tuple[str, str]:
    """Find the most probable token of every row; of equals, the lowest.

    Args:
        logits: [N, V]

    Returns:
        the token [N, 1], and the logits of the block that holds it [N, BLOCK]
    """
    blocks = b.Reshape(_padded(b, logits, vocab_size), b.int64([-1, _count(vocab_size), BLOCK]))
    maxima = b.ReduceMax(blocks, b.int64([2]), keepdims=0)  # [N, U]
    block = b.ArgMax(maxima, axis=1, keepdims=1)  # [N, 1]
    values = b.GatherND(blocks, block, batch_dims=1)  # [N, BLOCK]
    offset = b.ArgMax(values, axis=1, keepdims=1)
    return _token(b, block, offset, vocab_size), values


def _blocks(b: GraphBuilder, logits: str, vocab_size: int) -> tuple[str, str]:
    """Log-probabilities cut into blocks [N x U, BLOCK], and the blocks' maxima [N, U]."""
    log_probs = _padded(b, b.LogSoftmax(logits, axis=1), vocab_size)
    blocks = b.Reshape(log_probs, b.int64([-1, BLOCK]))
    maxima = b.ReduceMax(blocks, b.int64([1]), keepdims=1)
    return blocks, b.Reshape(maxima, b.int64([-1, _count(vocab_size)]))


def _count(vocab_size: int) -> int:
    """U, how many blocks the vocabulary has."""
    return -(-vocab_size // BLOCK)


def _padded(b: GraphBuilder, values: str, vocab_size: int) -> str:
    """[N, V] with columns of -inf after it, until its blocks are full."""
    padding = -vocab_size % BLOCK
    if padding:
        values = b.Pad(values, b.int64([0, 0, 0, padding]), b.float32(-np.inf))
    return values


def _token(b: GraphBuilder, block: str, offset: str, vocab_size: int) -> str:
    """The id of the token at an offset in a block of its row."""
    token: str = b.Add(b.Mul(block, b.int64(BLOCK)), offset)
    if vocab_size % BLOCK:
        # A candidate with score -inf may lie in the padding; its id must be in range all the same.
        token = b.Min(token, b.int64(vocab_size - 1))
    return token
