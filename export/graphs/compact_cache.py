"""compact.onnx: drop finished sentences and dead cache slots, without a copy to the CPU.

A slot is dead when no beam descends from it any more.

Shapes: B sentences, B' of them kept, H heads, E slots, E' of them kept, S source length, C head
size.
"""

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


def compact_graph(graphs: Graphs) -> onnx.ModelProto:
    """The graph that compacts the encoder's outputs and the decoder's cache.

    Inputs: kept [B'] int64, the sentences to keep; chosen [B', E'] int64, their slots to keep;
    then all past_* as the decoder has them and cross_* and source_bias as the encoder has them.
    Outputs: compact_NAME for each of these.
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
