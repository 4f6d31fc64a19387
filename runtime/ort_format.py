"""A model in ONNX Runtime's own format, for browsers, phones, and reduced builds.

A .ort file holds graph and weights. Hosts differ in whether they can feed optional inputs: those in
JavaScript and Java cannot. So here all decoding options but the target prefix are inputs that must
be fed, and model.json has their values.
"""

import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .config import ModelConfig, utf8_path
from .device import choose, load_onnxruntime
from .errors import ModelError
from .graph_session import errors_of_onnxruntime
from .options import declared_options
from .route import choose_route

FACTS_FILE = "model.json"
OPERATORS_FILE = "required_operators_and_types.config"
_FORMAT_VERSION = 1
_OPTIONAL = ("target_prefix",)  # the only option that stays an optional input

# Fields of ModelProto, GraphProto and TensorProto in onnx.proto, and kinds of values in protobuf.
_GRAPH, _INITIALIZER, _TENSOR_NAME = 7, 5, 8
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def write_ort_folder(folder: Path, output: Path, *, variant: str | None = None) -> dict[str, Any]:
    """Write a model folder's model as .ort files, with its vocabularies, model.json, and the list
    of operators that a reduced build of ONNX Runtime needs.

    Args:
        folder: the model folder
        output: an empty folder
        variant: None is the best for a CPU

    Returns:
        what is in model.json

    Raises:
        ModelError: the model cannot be read, or asks for more than its graphs do
    """
    config = ModelConfig.load(folder)
    _check_usable(config)
    chosen = choose(config.variants, (), device="cpu", variant=variant).variant
    files = config.variants[chosen]
    weights = files.weights.verify(folder)
    options = [name for name, _, _ in declared_options() if name not in _OPTIONAL]
    graph = with_required_inputs(files.translate.verify(folder).read_bytes(), options)
    inputs = _write_ort(graph, weights, output / "translate.ort")
    names: dict[str, str | None] = {"translate": "translate.ort", "score": None}
    if files.score is not None:
        names["score"] = "score.ort"
        _write_ort(files.score.verify(folder).read_bytes(), weights, output / "score.ort")
    write_operators([output / name for name in names.values() if name], output / OPERATORS_FILE)
    for side, entry in (("source", config.tokenizer.source), ("target", config.tokenizer.target)):
        shared = side == "target" and entry == config.tokenizer.source
        names[side] = "source.spm" if shared else f"{side}.spm"
        if not shared:
            shutil.copyfile(entry.verify(folder), output / f"{side}.spm")
    facts = _facts(config, chosen, names, inputs)
    text = json.dumps(facts, indent=2, ensure_ascii=False)
    (output / FACTS_FILE).write_text(text + "\n", encoding="utf-8")
    return facts


def write_operators(models: Sequence[Path], output: Path) -> None:
    """Write which operators and types the .ort files use, as onnxruntime's build.py reads it with
    --include_ops_by_config."""
    load_onnxruntime()
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    from onnxruntime.tools.ort_format_model import create_config_from_models

    try:  # onnxruntime's tools set up the logging of the whole program
        logging.disable(logging.INFO)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # they leave files to the collector
            create_config_from_models(models, output, True)
    finally:
        logging.disable(logging.NOTSET)
        root.level, root.handlers[:] = before
    lines = output.read_text("utf-8").splitlines()
    names = ", ".join(model.name for model in models)
    kept = [f"# Operators of {names}", *(line for line in lines if not line.startswith("#"))]
    output.write_text("\n".join(kept) + "\n", encoding="utf-8")


def with_required_inputs(model: bytes, names: Collection[str]) -> bytes:
    """An ONNX model whose inputs of these names have no values of their own any more, so that they
    must be fed.

    Raises:
        ModelError: it is no ONNX model
    """
    try:
        return b"".join(
            _field(_GRAPH, b"".join(_without_values(content, names))) if number == _GRAPH else raw
            for number, content, raw in _fields(model)
        )
    except IndexError as error:
        raise ModelError("the graph is damaged: copy or export the model again") from error


def _without_values(graph: bytes, names: Collection[str]) -> Iterator[bytes]:
    for number, content, raw in _fields(graph):
        if number == _INITIALIZER:
            name = next((text for field, text, _ in _fields(content) if field == _TENSOR_NAME), b"")
            if name.decode("utf-8", "replace") in names:
                continue
        yield raw


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, content (of a string or message) and all bytes of each field of a protobuf message.

    Raises:
        IndexError: it is none
    """
    position = 0
    while position < len(message):
        start = position
        key, position = _varint(message, position)
        content = b""
        if key & 7 == _VARINT:
            _, position = _varint(message, position)
        elif key & 7 == _BYTES:
            length, position = _varint(message, position)
            content = message[position : position + length]
            position += length
        elif key & 7 in (_FIXED32, _FIXED64):
            position += 4 if key & 7 == _FIXED32 else 8
        else:
            raise IndexError
        if position > len(message):
            raise IndexError
        yield key >> 3, content, message[start:position]


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position


def _field(number: int, content: bytes) -> bytes:
    """A field that holds a string or message."""
    encoded = bytearray()
    for value in (number << 3 | _BYTES, len(content)):
        while value > 127:
            encoded.append(value & 127 | 128)
            value >>= 7
        encoded.append(value)
    return bytes(encoded) + content


def _write_ort(graph: bytes, weights: Path, output: Path) -> dict[str, str]:
    """Write a graph in ONNX Runtime's format.

    Only what holds on every processor is optimized: products of constants, and the like.

    Returns:
        the types of its inputs by name

    Raises:
        ModelError: onnxruntime cannot load it
    """
    ort = load_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = utf8_path(output)
    options.add_session_config_entry("session.save_model_format", "ORT")
    with tempfile.TemporaryDirectory(prefix="tfm-", ignore_cleanup_errors=True) as folder:
        shutil.copyfile(weights, Path(folder, weights.name))  # onnxruntime refuses links
        path = Path(folder, "graph.onnx")
        path.write_bytes(graph)
        try:
            session = ort.InferenceSession(
                utf8_path(path), options, providers=["CPUExecutionProvider"]
            )
        except errors_of_onnxruntime() as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(
                f"onnxruntime {ort.__version__} cannot write {output.name}: {reason}"
            ) from error
    return {value.name: value.type for value in session.get_inputs()}


def _check_usable(config: ModelConfig) -> None:
    """Raise ModelError where translating takes more than one run of translate.onnx."""
    if config.languages.language_token != "none":
        raise ModelError(
            f"{config.name} has several languages: .ort files are for models from one language to"
            " another"
        )
    options = config.decoding
    names = [name for name, _, spec in declared_options() if spec.graph]
    route = choose_route(options, "cpu", names)
    if not route.by_graph:
        raise ModelError(f"{config.name} cannot be written as .ort: it decodes {route.reason}")
    if options.target_prefix:
        raise ModelError(
            f"{config.name} cannot be written as .ort: decoding.target_prefix is"
            f" {options.target_prefix!r}"
        )


def _facts(
    config: ModelConfig, variant: str, files: dict[str, str | None], inputs: dict[str, str]
) -> dict[str, Any]:
    """What model.json holds: all that a host must know to translate."""
    options = asdict(config.decoding)
    return {
        "format_version": _FORMAT_VERSION,
        "name": config.name,
        "variant": variant,
        "fingerprint": config.fingerprint(variant),
        "source": config.languages.source,
        "target": config.languages.target,
        "files": files,
        "special_ids": asdict(config.special_ids),
        "source_vocab_size": config.architecture.source_vocab_size,
        "max_source_length": config.max_source_length,
        "source_eos": config.source_eos,
        "fold_capitals": config.fold_capitals,
        "max_length_factor": config.decoding.max_length_factor,
        "inputs": {
            name: {"type": type_.removeprefix("tensor(").rstrip(")"), "value": options[name]}
            for name, type_ in inputs.items()
            if name != "source_ids"
        },
        "alignment": None if config.alignment is None else asdict(config.alignment),
    }
