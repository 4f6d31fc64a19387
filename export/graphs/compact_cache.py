"""compact.onnx: take finished sentences and dead slots out of memory and cache, on the device."""

from collections.abc import Mapping

import onnx
from onnx import ValueInfoProto, helper

from .builder import GraphBuilder, type_of
from .trace import Graphs

COMPACTION_STEPS = 8  # decoding steps between two compactions
# The number of slots after a compaction is a multiple of this: a whole number of vector
# registers, so that SIMD adds up a sentence's slots in the same order in any batch.
SLOT_ALIGNMENT = 16


def compaction_metadata() -> dict[str, str]:
    """What decoder.onnx and translate.onnx say of it in their metadata: who searches step by step
    gets the same bits as translate.onnx by compacting as it does."""
    return {"compaction_steps": str(COMPACTION_STEPS), "slot_alignment": str(SLOT_ALIGNMENT)}


def gather_slots(
    b: GraphBuilder, caches: Mapping[str, str], kept: str, chosen: str
) -> dict[str, str]:
    """Append what takes some slots of some sentences out of every cache.

    Args:
        caches: tensors [B, H, E, C], all of one shape, by name
        kept: [B'] sentences
        chosen: [B', E'] their slots; what is E or more becomes slot E - 1

    Returns:
        tensors [B', H, E', C] by the same names
    """
    any_cache = next(iter(caches.values()))
    heads, entries, size = (b.size(any_cache, axis) for axis in (1, 2, 3))
    first_rows = b.Add(
        b.Mul(b.Unsqueeze(kept, b.int64([1])), heads),
        b.Range(b.int64(0), b.Squeeze(heads), b.int64(1)),
    )  # [B', H], to be multiplied by E
    inside = b.Min(b.Unsqueeze(chosen, b.int64([1])), b.Sub(entries, b.int64([1])))
    rows = b.Add(b.Unsqueeze(b.Mul(first_rows, entries), b.int64([2])), inside)  # [B', H, E']
    # Rows of C numbers: GatherElements would need an index for every number.
    matrix = b.Concat(b.int64([-1]), size, axis=0)
    return {
        name: b.Gather(b.Reshape(cache, matrix), rows, axis=0) for name, cache in caches.items()
    }


def compact_graph(graphs: Graphs) -> onnx.ModelProto:
    """The graph for the encoder's outputs and the decoder's cache.

    Inputs: kept [B'] and chosen [B', E'] int64, then all past_* as the decoder has them and
    cross_* and source_bias as the encoder has them. Outputs: compact_NAME for each of these.
    """
    b = GraphBuilder()
    past = [value for value in graphs.decoder.graph.input if value.name.startswith("past_")]
    values = {value.name: value for value in (*past, *graphs.encoder.graph.output)}
    caches = {value.name: value.name for value in past}
    memory = [value.name for value in graphs.encoder.graph.output]
    gathered = gather_slots(b, caches, "kept", "chosen")
    gathered |= {name: b.Gather(name, "kept", axis=0) for name in memory}
    integers = onnx.TensorProto.INT64
    return b.model(
        "compact",
        [
            helper.make_tensor_value_info("kept", integers, ["B'"]),
            helper.make_tensor_value_info("chosen", integers, ["B'", "E'"]),
            *(values[name] for name in (*caches, *memory)),
        ],
        {f"compact_{name}": (tensor, *_smaller(values[name])) for name, tensor in gathered.items()},
        graphs.decoder.opset_import,
        graphs.decoder.ir_version,
    )


def _smaller(value: ValueInfoProto) -> tuple[int, list[int | str]]:
    element, shape = type_of(value)
    return element, [f"{size}'" if size in ("B", "E") else size for size in shape]
