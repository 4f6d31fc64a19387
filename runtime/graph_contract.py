"""Whether a graph has the inputs and outputs that config.json says it has.

export/README.md has the contract in words. What a graph is given and gives back is checked here
once, when it is loaded: a graph of another model would otherwise write nonsense, or fail in the
middle of a text.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from .config import Architecture, ModelConfig
from .errors import ModelError
from .files.display import quoted
from .graph_session import GraphSession, TensorInfo
from .options import declared_options

# What the export writes into the metadata of translate.onnx and decoder.onnx.
SPECIAL_IDS = ("bos_id", "eos_id", "pad_id", "unk_id")
DIMENSIONS = (
    "d_model",
    "num_heads",
    "encoder_layers",
    "decoder_layers",
    "source_vocab_size",
    "target_vocab_size",
)

SHORTLIST = "shortlist"  # an output of the encoder where each sentence has its own

_INT64, _FLOAT32 = ("tensor(int64)",), ("tensor(float)",)
_FLOAT = ("tensor(float)", "tensor(float16)")


class _Expected(NamedTuple):
    """Types that are allowed, and sizes; None is a dimension that varies."""

    types: tuple[str, ...]
    shape: tuple[int | None, ...]


class _Contract(NamedTuple):
    inputs: dict[str, _Expected]
    outputs: dict[str, _Expected]


def check_graph(graph_name: str, graph: GraphSession, path: Path, config: ModelConfig) -> None:
    """Compare names, types and shapes.

    Args:
        graph_name: "encoder", "decoder", "compact", "translate", "greedy" or "score"
        path: of the graph's file, for the error

    Raises:
        ModelError: it is not the graph that config.json describes
    """
    contract = _CONTRACTS[graph_name](config)
    try:
        _check_names("input", contract.inputs, graph.inputs)
        _check_names("output", contract.outputs, graph.outputs)
        for side, expected, found in (
            ("input", contract.inputs, graph.inputs),
            ("output", contract.outputs, graph.outputs),
            ("input", _options(graph_name), graph.optional_inputs),
        ):
            for tensor in expected.keys() & found.keys():
                _check_tensor(f"{side} {quoted(tensor)}", expected[tensor], found[tensor])
        _check_one_float_type({**graph.inputs, **graph.outputs}, contract)
        _check_metadata(graph.metadata, config)
    except ModelError as error:
        raise ModelError(
            f"{path} is not the {graph_name} graph that config.json describes: {error};"
            " copy or export the model again"
        ) from None


def _check_one_float_type(found: Mapping[str, TensorInfo], contract: _Contract) -> None:
    """Keys and values are all float32, or all float16."""
    tensors = {**contract.inputs, **contract.outputs}
    types = {
        found[name].type
        for name, tensor in tensors.items()
        if tensor.types == _FLOAT and not name.endswith("source_bias")
    }
    if len(types) > 1:
        raise ModelError(f"some of it is {' and some '.join(sorted(types))}")


def _check_metadata(metadata: Mapping[str, str], config: ModelConfig) -> None:
    for facts, names in ((config.special_ids, SPECIAL_IDS), (config.architecture, DIMENSIONS)):
        for name in names:
            wanted = str(getattr(facts, name))
            if metadata.get(name, wanted) != wanted:
                raise ModelError(f"it was made with {name} {quoted(metadata[name])}, not {wanted}")


def _check_names(
    side: str, expected: Mapping[str, _Expected], found: Mapping[str, TensorInfo]
) -> None:
    for name in expected:
        if name not in found:
            raise ModelError(f"it has no {side} {quoted(name)}")
    for name in found:
        if name not in expected:
            raise ModelError(f"it has an {side} {quoted(name)} that is not expected")


def _check_tensor(what: str, expected: _Expected, found: TensorInfo) -> None:
    if found.type not in expected.types:
        raise ModelError(f"{what} is {found.type}, expected {' or '.join(expected.types)}")
    if len(found.shape) != len(expected.shape):
        raise ModelError(f"{what} has {len(found.shape)} dimensions, not {len(expected.shape)}")
    for dimension, (size, wanted) in enumerate(zip(found.shape, expected.shape, strict=True)):
        if isinstance(size, int) and size != wanted:
            needed = "any size" if wanted is None else f"size {wanted}"
            raise ModelError(f"{what} has size {size} in dimension {dimension}, expected {needed}")


def _search(hypotheses: int | None) -> _Contract:
    return _Contract(
        {"source_ids": _Expected(_INT64, (None, None))},
        {
            "output_ids": _Expected(_INT64, (None, hypotheses, None)),
            "output_lengths": _Expected(_INT64, (None, hypotheses)),
            "output_scores": _Expected(_FLOAT32, (None, hypotheses)),
        },
    )


def _translate(_config: ModelConfig) -> _Contract:
    return _search(None)


def _greedy(_config: ModelConfig) -> _Contract:
    return _search(1)


def _encoder(config: ModelConfig) -> _Contract:
    return _Contract({"source_ids": _Expected(_INT64, (None, None))}, _memory(config))


def _decoder(config: ModelConfig) -> _Contract:
    architecture = config.architecture
    candidates = {
        "candidate_scores": _Expected(_FLOAT32, (None, None)),
        "candidate_ids": _Expected(_INT64, (None, None)),
        "candidate_origins": _Expected(_INT64, (None, None)),
    }
    return _Contract(
        {
            "target_ids": _Expected(_INT64, (None, None)),
            "scores": _Expected(_FLOAT32, (None, None)),
            "position": _Expected(_INT64, (1,)),
            **_reordering(architecture),
            **_remembered("past", architecture),
            **_memory(config),
        },
        {
            **candidates,
            **_remembered("present", architecture),
            "logits": _Expected(_FLOAT32, (None, architecture.target_vocab_size)),
        },
    )


def _compact(config: ModelConfig) -> _Contract:
    architecture = config.architecture
    tensors = {**_remembered("past", architecture), **_memory(config)}
    slots = {} if _is_recurrent(architecture) else {"chosen": _Expected(_INT64, (None, None))}
    return _Contract(
        {"kept": _Expected(_INT64, (None,)), **slots, **tensors},
        {f"compact_{name}": tensor for name, tensor in tensors.items()},
    )


def _score(config: ModelConfig) -> _Contract:
    shape = config.architecture
    own = 0 if _is_recurrent(shape) else shape.decoder_layers
    layers = {"encoder": shape.encoder_layers, "decoder": own, "cross": shape.decoder_layers}
    attention = {
        f"{kind}_attention": _Expected(_FLOAT32, (count, None, shape.num_heads, None, None))
        for kind, count in layers.items()
    }
    ids = _Expected(_INT64, (None, None))
    return _Contract(
        {"source_ids": ids, "target_ids": ids},
        {"log_probs": _Expected(_FLOAT32, (None, None)), **attention},
    )


_CONTRACTS = {
    "translate": _translate,
    "greedy": _greedy,
    "encoder": _encoder,
    "decoder": _decoder,
    "compact": _compact,
    "score": _score,
}


def _is_recurrent(architecture: Architecture) -> bool:
    return architecture.decoder_autoregression == "ssru"


def _reordering(architecture: Architecture) -> dict[str, _Expected]:
    """What tells the decoder how the beams were reordered."""
    if _is_recurrent(architecture):
        return {"beam_origin": _Expected(_INT64, (None, None))}
    return {"ancestry": _Expected(_FLOAT32, (None, None, None))}


def _remembered(prefix: str, architecture: Architecture) -> dict[str, _Expected]:
    """What a decoder remembers of earlier tokens: self-attention's cache, or states of SSRU."""
    if not _is_recurrent(architecture):
        return _cache(prefix, architecture)
    state = _Expected(_FLOAT, (None, None, architecture.d_model))
    return {f"{prefix}_state.{layer}": state for layer in range(architecture.decoder_layers)}


def _memory(config: ModelConfig) -> dict[str, _Expected]:
    """The encoder's outputs: cross-attention's keys and values, the bias of the padding, and what
    each sentence may be written with, where that is its own."""
    memory = _cache("cross", config.architecture)
    memory["source_bias"] = _Expected(_FLOAT, (None, 1, 1, None))
    if config.shortlist == "lexical":
        vocab_size = config.architecture.target_vocab_size
        memory[SHORTLIST] = _Expected(("tensor(uint8)",), (None, vocab_size))
    return memory


def _cache(prefix: str, architecture: Architecture) -> dict[str, _Expected]:
    heads = architecture.num_heads
    tensor = _Expected(_FLOAT, (None, heads, None, architecture.d_model // heads))
    return {
        f"{prefix}_{kind}.{layer}": tensor
        for layer in range(architecture.decoder_layers)
        for kind in ("key", "value")
    }


def _options(graph_name: str) -> dict[str, _Expected]:
    """Optional inputs of graphs that search: decoding options, and whether scores are wanted."""
    if graph_name not in ("translate", "greedy"):
        return {}
    shapes: dict[str, tuple[None, ...]] = {"target_prefix": (None, None), "suppress_ids": (None,)}
    options = {
        name: _Expected(_FLOAT32 if type_ is float else _INT64, shapes.get(name, ()))
        for name, type_, spec in declared_options()
        if spec.graph
    }
    return {**options, "with_scores": _Expected(("tensor(bool)",), ())}
