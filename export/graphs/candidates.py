"""From the logits of a step to the candidates of a search, in as few operators as it takes.

Two stages, because passing over K x V numbers is slow, and sorting them slower: the maxima of
blocks come first, and only the best blocks are looked into.

Shapes: B sentences, K beams, N = B x K rows, V vocabulary, U blocks of BLOCK that hold it.
"""

from dataclasses import dataclass

import numpy as np

from .builder import GraphBuilder

BLOCK = 64


@dataclass(frozen=True, slots=True)
class CandidateTensors:
    """Tensors of equal shape, [B, 2K] or [B, 1], best first; ties go to the lower beam, then to
    the lower token.

    Attributes:
        scores: sum of the beam's score and the token's log-probability
        ids: the token that is added
        rows: the beam that it is added to, as a row: 0 to N - 1
    """

    scores: str
    ids: str
    rows: str


@dataclass(frozen=True, slots=True)
class Grid:
    """Tensors that depend on B, K and V alone.

    Attributes:
        blocks: U
        first_rows: [B, 1] the row of each sentence's first beam
        first_blocks: [B, 1] and that beam's first block
        twice_beams: [1] 2K
        by_sentence: [2] the shape of one row per sentence
    """

    blocks: int
    first_rows: str
    first_blocks: str
    twice_beams: str
    by_sentence: str


def grid(b: GraphBuilder, scores: str, vocab_size: int) -> Grid:
    """Append the tensors that picking from the logits needs, given the beams' scores [B, K]."""
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
    """Append what finds the 2K best candidates of every sentence.

    Any of them lies in one of the 2K blocks with the best maxima.

    Args:
        logits: [N, V]
        scores: [B, K]
    """
    by_row = b.Reshape(scores, b.int64([-1, 1]))
    blocks, maxima = _blocks(b, logits, vocab_size)
    if grid.blocks == 1:  # no more blocks than beams
        totals = b.Reshape(b.Add(blocks, by_row), grid.by_sentence)
        values, found = b.TopK(totals, grid.twice_beams, outputs=2, axis=1)
        block = b.Add(b.Div(found, b.int64(BLOCK)), grid.first_blocks)
    else:
        totals = b.Reshape(b.Add(maxima, by_row), grid.by_sentence)
        _, chosen = b.TopK(totals, grid.twice_beams, outputs=2, axis=1)
        # In order, so that ties still go to the lower index.
        in_order, _ = b.TopK(chosen, grid.twice_beams, outputs=2, axis=1, largest=0)
        chosen = b.Add(in_order, grid.first_blocks)  # [B, 2K]
        inside = b.Gather(blocks, chosen, axis=0)  # [B, 2K, BLOCK]
        before = b.Gather(by_row, b.Div(chosen, b.int64(grid.blocks)), axis=0)  # [B, 2K, 1]
        totals = b.Reshape(b.Add(inside, before), grid.by_sentence)
        values, found = b.TopK(totals, grid.twice_beams, outputs=2, axis=1)
        block = b.GatherElements(chosen, b.Div(found, b.int64(BLOCK)), axis=1)
    offset = b.Mod(found, b.int64(BLOCK))
    return CandidateTensors(
        scores=values,
        ids=_token(b, b.Mod(block, b.int64(grid.blocks)), offset, vocab_size),
        rows=b.Div(block, b.int64(grid.blocks)),
    )


def best_token(
    b: GraphBuilder, logits: str, scores: str, grid: Grid, vocab_size: int
) -> CandidateTensors:
    """Append what finds the best candidate of every sentence that has one beam.

    It is the first of `best_candidates`.

    Args:
        logits: [B, V]
        scores: [B, 1]
    """
    blocks, maxima = _blocks(b, logits, vocab_size)
    block = b.ArgMax(b.Add(maxima, scores), axis=1, keepdims=1)  # [B, 1]
    chosen = b.Reshape(b.Add(block, grid.first_blocks), b.int64([-1]))
    inside = b.Add(b.Gather(blocks, chosen, axis=0), scores)  # [B, BLOCK]
    offset = b.ArgMax(inside, axis=1, keepdims=1)
    return CandidateTensors(
        scores=b.ReduceMax(inside, b.int64([1]), keepdims=1),
        ids=_token(b, block, offset, vocab_size),
        rows=grid.first_rows,
    )


def _blocks(b: GraphBuilder, logits: str, vocab_size: int) -> tuple[str, str]:
    """Log-probabilities in blocks [N x U, BLOCK], and the maxima of the blocks [N, U]."""
    log_probs = b.LogSoftmax(logits, axis=1)
    padding = -vocab_size % BLOCK
    if padding:
        log_probs = b.Pad(log_probs, b.int64([0, 0, 0, padding]), b.float32(-np.inf))
    blocks = b.Reshape(log_probs, b.int64([-1, BLOCK]))
    maxima = b.ReduceMax(blocks, b.int64([1]), keepdims=1)
    return blocks, b.Reshape(maxima, b.int64([-1, (vocab_size + padding) // BLOCK]))


def _token(b: GraphBuilder, block: str, offset: str, vocab_size: int) -> str:
    token: str = b.Add(b.Mul(block, b.int64(BLOCK)), offset)
    if vocab_size % BLOCK:
        # A candidate of score -inf may lie in the padding: it has to name a token all the same.
        token = b.Min(token, b.int64(vocab_size - 1))
    return token
