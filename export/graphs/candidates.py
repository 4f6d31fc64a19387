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
    blocks = -(-vocab_size // BLOCK)
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


def best_token(
    b: GraphBuilder, logits: str, scores: str, grid: Grid, vocab_size: int
) -> CandidateTensors:
    """Find the best candidate of every sentence, for K = 1: the first of `best_candidates`.

    Args:
        logits: [B, V]
        scores: [B, 1]
    """
    blocks, maxima = _blocks(b, logits, vocab_size)
    block = b.ArgMax(b.Add(maxima, scores), axis=1, keepdims=1)  # [B, 1]
    best_block = b.Reshape(b.Add(block, grid.first_blocks), b.int64([-1]))
    totals = b.Add(b.Gather(blocks, best_block, axis=0), scores)  # [B, BLOCK]
    offset = b.ArgMax(totals, axis=1, keepdims=1)
    return CandidateTensors(
        scores=b.ReduceMax(totals, b.int64([1]), keepdims=1),
        ids=_token(b, block, offset, vocab_size),
        rows=grid.first_rows,
    )


def _blocks(b: GraphBuilder, logits: str, vocab_size: int) -> tuple[str, str]:
    """Log-probabilities cut into blocks [N x U, BLOCK], and the blocks' maxima [N, U]."""
    log_probs = b.LogSoftmax(logits, axis=1)
    padding = -vocab_size % BLOCK
    if padding:
        log_probs = b.Pad(log_probs, b.int64([0, 0, 0, padding]), b.float32(-np.inf))
    blocks = b.Reshape(log_probs, b.int64([-1, BLOCK]))
    maxima = b.ReduceMax(blocks, b.int64([1]), keepdims=1)
    return blocks, b.Reshape(maxima, b.int64([-1, (vocab_size + padding) // BLOCK]))


def _token(b: GraphBuilder, block: str, offset: str, vocab_size: int) -> str:
    """The id of the token at an offset in a block of its row."""
    token: str = b.Add(b.Mul(block, b.int64(BLOCK)), offset)
    if vocab_size % BLOCK:
        # A candidate with score -inf may lie in the padding; its id must be in range all the same.
        token = b.Min(token, b.int64(vocab_size - 1))
    return token
