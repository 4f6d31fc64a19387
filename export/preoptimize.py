"""What ONNX Runtime does to a graph whenever it loads it, done once at the export."""

import os
from pathlib import Path

import onnx
from onnx import GraphProto

from tfm.export.graphs.passes import bodies_of
from tfm.runtime.device import load_onnxruntime

# They write the transpose of a weight beside the weight itself, which doubles it on disk.
_AT_LOADING = (
    "ConstantFolding",
    "TransposeOptimizer",
    "TransposeOptimizer_CPUExecutionProvider",
)
# On a CPU the fused operator is slower: runtime/graph_session.py leaves it out, too.
_NEVER = ("SkipLayerNormFusion",)


def preoptimize(path: Path) -> None:
    """Replace a graph on disk by what ONNX Runtime's optimizer makes of it for a CPU.

    Every optimization that finds something to change has the whole graph, its loops and branches
    checked again, which takes more than a third of the time to load one with many branches. The
    weights stay in the file that the graph names. Optimizations that depend on the processor are
    left out, so the graph runs on others than this one.
    """
    ort = load_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    optimized = path.with_suffix(".optimized")
    options.optimized_model_filepath = str(optimized)
    try:
        ort.InferenceSession(
            str(path),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=[*_AT_LOADING, *_NEVER],
        )
        model = onnx.load(optimized, load_external_data=False)
        used = _domains(model.graph)
        imports = [entry for entry in model.opset_import if entry.domain in used]
        del model.opset_import[:]
        model.opset_import.extend(imports)
        onnx.save(model, optimized)
        os.replace(optimized, path)
    finally:
        optimized.unlink(missing_ok=True)


def _domains(graph: GraphProto) -> set[str]:
    """Of all operators, those in loops and branches too."""
    domains = {node.domain for node in graph.node} | {""}
    return domains.union(*map(_domains, bodies_of(graph)))
