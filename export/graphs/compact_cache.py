"""compact.onnx: drop finished sentences and dead cache slots, without a copy to the CPU.

Shapes: B sentences, B' of them kept, E slots, E' of them kept.
"""

import onnx
from onnx import ValueInfoProto, helper

from tfm.trainer.config import TransformerConfig

from .builder import GraphBuilder, type_of
from .decoder_state import decoder_state, state_element
from .trace import Graphs


def compact_graph(graphs: Graphs, config: TransformerConfig) -> onnx.ModelProto:
    """The graph that compacts the encoder's outputs and what the decoder remembers.

    Inputs: kept [B'] int64, the sentences to keep; for a cache chosen [B', E'] int64, their slots
    to keep; then all past_* as decoder.onnx has them and cross_* and source_bias as the encoder has
    them. Outputs: compact_NAME for each of these.
    """
    b = GraphBuilder()
    state = decoder_state(config)
    memory = {value.name: value for value in graphs.encoder.graph.output}
    types = state.step_types(state_element(graphs.decoder))
    pasts = [helper.make_tensor_value_info(name, *types[name]) for name in state.pasts]
    values = {value.name: value for value in (*pasts, *memory.values())}
    gathered = state.compacted(b) | {name: b.Gather(name, "kept", axis=0) for name in memory}
    return b.model(
        "compact",
        [
            helper.make_tensor_value_info("kept", onnx.TensorProto.INT64, ["B'"]),
            *state.compact_inputs(),
            *values.values(),
        ],
        {f"compact_{name}": (tensor, *_smaller(values[name])) for name, tensor in gathered.items()},
        graphs.decoder.opset_import,
        graphs.decoder.ir_version,
    )


def _smaller(value: ValueInfoProto) -> tuple[int, list[int | str]]:
    element, shape = type_of(value)
    return element, [f"{size}'" if size in ("B", "E") else size for size in shape]
