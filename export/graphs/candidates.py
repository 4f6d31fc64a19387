"""The best candidates of a step from its logits, with few and fast operators.

TopK over all K x V numbers of a sentence would be slow. So the vocabulary is cut into blocks, TopK
finds the 2K blocks with the largest maxima, and a second TopK looks only into those blocks.

With a lexical shortlist logits have columns for some tokens alone, and the decoder says which.

Shapes: B sentences, K beams, N = B x K rows, V vocabulary, U = V / BLOCK, rounded up; C columns
of a shortlist, a multiple of BLOCK, and U = C / BLOCK there.
"""

from dataclasses import dataclass, replace

import numpy as np
import onnx

from .builder import GraphBuilder

BLOCK = 64
LISTED_IDS = "listed_ids"  # output of a decoder: the tokens [C] that its logits are of


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
    """How rows and blocks are numbered; it depends on B, K and the columns alone.

    Attributes:
        vocab_size: V
        ids: [C] the tokens of the columns; "" where all tokens have one
        blocks: [1] U
        one_block: whether U is 1
        first_rows: [B, 1] the row of each sentence's first beam
        first_blocks: [B, 1] the first block of that row, counted over all rows
        twice_beams: [1] 2K
        by_sentence: [2] the shape B, -1
    """

    vocab_size: int
    ids: str
    blocks: str
    one_block: bool
    first_rows: str
    first_blocks: str
    twice_beams: str
    by_sentence: str


def grid(b: GraphBuilder, scores: str, vocab_size: int) -> Grid:
    """Append the tensors of a Grid, given the beams' scores [B, K]."""
    batch, beams = b.size(scores, 0), b.size(scores, 1)
    count = _count(vocab_size)
    blocks = b.int64([count])
    sentences = b.Range(b.int64(0), b.Squeeze(batch), b.int64(1))
    first_rows = b.Unsqueeze(b.Mul(sentences, beams), b.int64([1]))
    return Grid(
        vocab_size=vocab_size,
        ids="",
        blocks=blocks,
        one_block=count == 1,
        first_rows=first_rows,
        first_blocks=b.Mul(first_rows, blocks),
        twice_beams=b.Add(beams, beams),
        by_sentence=b.Concat(batch, b.int64([-1]), axis=0),
    )


def listed_output(decoder: onnx.ModelProto) -> list[str]:
    """The name of the decoder's output that says which tokens its logits are of, if it has one."""
    return [value.name for value in decoder.graph.output if value.name == LISTED_IDS]


def listed_grid(b: GraphBuilder, grid: Grid, ids: str) -> Grid:
    """The grid of logits whose columns are of some tokens [C]."""
    blocks = b.Div(b.Shape(ids), b.int64([BLOCK]))
    first_blocks = b.Mul(grid.first_rows, blocks)
    return replace(grid, ids=ids, blocks=blocks, one_block=False, first_blocks=first_blocks)


def every_column(b: GraphBuilder, logits: str, ids: str, vocab_size: int) -> str:
    """From logits [N, C] of some tokens to [N, V], -inf for the others."""
    rows = b.Concat(b.size(logits, 0), b.int64([vocab_size]), axis=0)
    nothing = b.Expand(b.float32(-np.inf), rows)
    columns = b.Expand(ids, b.Shape(logits))
    # max: a token may have a second column, which is to fill a block, of -inf.
    name: str = b.ScatterElements(nothing, columns, logits, axis=1, reduction="max")
    return name


def best_candidates(b: GraphBuilder, logits: str, scores: str, grid: Grid) -> CandidateTensors:
    """Find the 2K best candidates of every sentence.

    All of them lie in the 2K blocks with the largest maxima.

    Args:
        logits: [N, V], or [N, C] of the grid's tokens
        scores: [B, K]
    """
    by_row = b.Reshape(scores, b.int64([-1, 1]))
    blocks, maxima = _blocks(b, logits, grid)
    if grid.one_block:  # one block holds the whole vocabulary: look into all of them
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
        rows = b.Div(best_blocks, grid.blocks)
        beam_scores = b.Gather(by_row, rows, axis=0)  # [B, 2K, 1]
        totals = b.Reshape(b.Add(log_probs, beam_scores), grid.by_sentence)
        values, indices = b.TopK(totals, grid.twice_beams, outputs=2, axis=1)
        block = b.GatherElements(best_blocks, b.Div(indices, b.int64(BLOCK)), axis=1)
    offset = b.Mod(indices, b.int64(BLOCK))
    return CandidateTensors(
        scores=values,
        ids=_token(b, b.Mod(block, grid.blocks), offset, grid.vocab_size, grid.ids),
        rows=b.Div(block, grid.blocks),
    )


def best_token(b: GraphBuilder, logits: str, vocab_size: int, ids: str = "") -> tuple[str, str]:
    """Find the most probable token of every row; of equals, the lowest.

    Args:
        logits: [N, V], or [N, C] of the tokens `ids`

    Returns:
        the token [N, 1], and the logits of the block that holds it [N, BLOCK]
    """
    if ids:
        count = b.Div(b.Shape(ids), b.int64([BLOCK]))
        blocks = b.Reshape(logits, b.Concat(b.int64([-1]), count, b.int64([BLOCK]), axis=0))
    else:
        shape = b.int64([-1, _count(vocab_size), BLOCK])
        blocks = b.Reshape(_padded(b, logits, vocab_size), shape)
    maxima = b.ReduceMax(blocks, b.int64([2]), keepdims=0)  # [N, U]
    block = b.ArgMax(maxima, axis=1, keepdims=1)  # [N, 1]
    values = b.GatherND(blocks, block, batch_dims=1)  # [N, BLOCK]
    offset = b.ArgMax(values, axis=1, keepdims=1)
    return _token(b, block, offset, vocab_size, ids), values


def _blocks(b: GraphBuilder, logits: str, grid: Grid) -> tuple[str, str]:
    """Log-probabilities cut into blocks [N x U, BLOCK], and the blocks' maxima [N, U]."""
    log_probs = b.LogSoftmax(logits, axis=1)
    if grid.ids:
        by_row = b.Concat(b.int64([-1]), grid.blocks, axis=0)
    else:
        log_probs = _padded(b, log_probs, grid.vocab_size)
        by_row = b.int64([-1, _count(grid.vocab_size)])
    blocks = b.Reshape(log_probs, b.int64([-1, BLOCK]))
    maxima = b.ReduceMax(blocks, b.int64([1]), keepdims=1)
    return blocks, b.Reshape(maxima, by_row)


def _count(vocab_size: int) -> int:
    """U, how many blocks the vocabulary has."""
    return -(-vocab_size // BLOCK)


def _padded(b: GraphBuilder, values: str, vocab_size: int) -> str:
    """[N, V] with columns of -inf after it, until its blocks are full."""
    padding = -vocab_size % BLOCK
    if padding:
        values = b.Pad(values, b.int64([0, 0, 0, padding]), b.float32(-np.inf))
    return values


def _token(b: GraphBuilder, block: str, offset: str, vocab_size: int, ids: str) -> str:
    """The id of the token at an offset in a block of its row."""
    token: str = b.Add(b.Mul(block, b.int64(BLOCK)), offset)
    if ids:
        token = b.Gather(ids, token)
    elif vocab_size % BLOCK:
        # A candidate with score -inf may lie in the padding; its id must be in range all the same.
        token = b.Min(token, b.int64(vocab_size - 1))
    return token
