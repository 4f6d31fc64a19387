"""Slots of self-attention's cache: which ones are kept, and a copy of these.

A slot is dead when no beam descends from it any more.

Shapes: B sentences, B' of them kept, K beams, N' = B' x K, H heads, E slots, E' of them kept,
C head size.
"""

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from .builder import GraphBuilder

COMPACTION_STEPS = 8  # decoding steps between two compactions
# The number of slots after a compaction is a multiple of this: a whole number of vector
# registers, so that SIMD adds up a sentence's slots in the same order in any batch.
SLOT_ALIGNMENT = 16


def compaction_metadata() -> dict[str, str]:
    """Metadata of decoder.onnx and translate.onnx: how often translate.onnx compacts its cache.

    A search step by step that compacts in the same way gets the same bits.
    """
    return {"compaction_steps": str(COMPACTION_STEPS), "slot_alignment": str(SLOT_ALIGNMENT)}


def gather_slots(
    b: GraphBuilder, caches: Mapping[str, str], sentences: str, slots: str
) -> dict[str, str]:
    """Copy some slots of some sentences out of every cache.

    Args:
        caches: by name, tensors [B, H, E, C] that all have the same shape
        sentences: [B'] indices of sentences
        slots: [B', E'] indices of their slots; E or more is read as E - 1

    Returns:
        tensors [B', H, E', C] by the same names
    """
    any_cache = next(iter(caches.values()))
    heads, num_slots, size = (b.size(any_cache, axis) for axis in (1, 2, 3))
    first_rows = b.Add(
        b.Mul(b.Unsqueeze(sentences, b.int64([1])), heads),
        b.Range(b.int64(0), b.Squeeze(heads), b.int64(1)),
    )  # [B', H], to be multiplied by E
    slots = b.Min(b.Unsqueeze(slots, b.int64([1])), b.Sub(num_slots, b.int64([1])))
    rows = b.Add(b.Unsqueeze(b.Mul(first_rows, num_slots), b.int64([2])), slots)  # [B', H, E']
    # Gather takes rows of C numbers; GatherElements would need an index for every number.
    matrix = b.Concat(b.int64([-1]), size, axis=0)
    return {
        name: b.Gather(b.Reshape(cache, matrix), rows, axis=0) for name, cache in caches.items()
    }


def every_slot(b: GraphBuilder, ancestry: str) -> dict[str, str]:
    """What `choose_slots` returns, if no slot is to go."""
    slots = b.size(ancestry, 2)
    columns = b.Range(b.int64(0), b.Squeeze(slots), b.int64(1))
    chosen = b.Expand(columns, b.Concat(b.size(ancestry, 0), slots, axis=0))
    by_row = b.Concat(b.Mul(b.size(ancestry, 0), b.size(ancestry, 1)), slots, axis=0)
    return {"ancestry": b.Reshape(ancestry, by_row, allowzero=1), "chosen": chosen}


def choose_slots(b: GraphBuilder, ancestry: str) -> dict[str, str]:
    """Choose the living slots of every sentence, in their order, and dead ones up to one number.

    Args:
        ancestry: [B', K, E], 0 where a beam descends from a slot and -inf elsewhere

    Returns:
        "ancestry" of these slots [N', E'], and "chosen", their indices [B', E'], some of them E or
        more
    """
    batch, beams = b.size(ancestry, 0), b.size(ancestry, 1)
    spare = b.Concat(batch, beams, b.int64([SLOT_ALIGNMENT - 1]), axis=0)
    dead = b.Expand(b.float32(-np.inf), spare)
    ancestry = b.Concat(ancestry, dead, axis=2)  # [B', K, E + SLOT_ALIGNMENT - 1]
    alive = b.ReduceMax(ancestry, b.int64([1]), keepdims=0)  # [B', E + ...], 0 or -inf
    living = b.Cast(b.Equal(alive, b.float32(0)), to=TensorProto.INT64)
    counts = b.ReduceSum(living, b.int64([1]), keepdims=0)
    most = b.ReduceMax(counts, b.int64([0]), keepdims=1)
    blocks = b.Div(b.Add(most, b.int64([SLOT_ALIGNMENT - 1])), b.int64([SLOT_ALIGNMENT]))
    wanted = b.Mul(blocks, b.int64([SLOT_ALIGNMENT]))
    # Ties go to the lower index: the living in their order, then as many of the dead as needed.
    _, chosen = b.TopK(alive, wanted, outputs=2, axis=1)  # [B', E']
    one = b.int64([1])
    by_beam = b.Expand(b.Unsqueeze(chosen, one), b.Concat(one, beams, one, axis=0))
    by_row = b.Concat(b.Mul(batch, beams), wanted, axis=0)
    kept = b.Reshape(b.GatherElements(ancestry, by_beam, axis=2), by_row, allowzero=1)
    return {"ancestry": kept, "chosen": chosen}
