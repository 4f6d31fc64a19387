"""Converts a model for every system that is measured."""

import hashlib
import importlib.util
import logging
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tfm.export.errors import ExportError
from tfm.export.formats.transformers import write_transformers
from tfm.export.graphs.trace import convert
from tfm.export.model_folder import write_model_folder
from tfm.export.quantization.variants import VARIANTS
from tfm.runtime.config import ModelConfig
from tfm.runtime.options import declared_options

from .errors import BenchError
from .subject import LoadedCheckpoint, Subject, weights_digest
from .systems import PEER_OPTIONS, PEERS, System

logger = logging.getLogger(__name__)

VOCABULARY_FILES = {"source_vocabulary.json", "target_vocabulary.json", "shared_vocabulary.json"}


@dataclass(frozen=True, slots=True)
class Contender:
    """A converted system.

    Attributes:
        megabytes: its size on disk, without vocabularies
        digest: of its files
    """

    system: System
    megabytes: float
    digest: str


def choose_peers(
    wanted: Sequence[str] | None, subject: Subject, option_names: Collection[str] = ()
) -> list[str]:
    """The peers that can take part.

    Args:
        wanted: the peers that were asked for; None is all
        option_names: the decoding options that are not neutral

    Raises:
        BenchError: a peer that was asked for cannot take part: a package, the weights, or a
            decoding option is missing
    """
    if subject.checkpoint is None:
        line = f"{subject.name} has no weights that others could load ({subject.no_weights})"
        if wanted:
            raise BenchError(
                f"--against {','.join(wanted)}: {line}; give the checkpoint it was exported from"
            )
        logger.warning("no other engine takes part: %s", line)
        return []
    peers = []
    for peer in PEERS if wanted is None else wanted:
        missing = next((name for name in PEERS[peer] if not _is_installed(name)), None)
        if missing is not None:
            line = (
                f"{peer} needs {missing.split('.')[0]}, which is not installed:"
                " pip install '.[cpu]' './tests/bench[peers]' -c constraints.txt"
            )
            if wanted is not None:
                raise BenchError(line)
            logger.warning("left out: %s", line)
        elif line := _missing_options(peer, option_names):
            if wanted is not None:
                raise BenchError(line)
            logger.warning("left out: %s", line)
        elif peer in {"optimum", "transformers"} and subject.checkpoint.model.config.norm == "pre":
            logger.warning(
                "left out: %s has no class for a pre-norm model with separate vocabularies", peer
            )
        elif subject.checkpoint.model.config.language_token == "both":
            logger.warning("left out: %s is not told here which language to write", peer)
        else:
            peers.append(peer)
    return peers


def _missing_options(peer: str, option_names: Collection[str]) -> str:
    """Which of the options this peer does not have, in a sentence; "" if it has all."""
    missing = [
        spec.cli
        for name, _, spec in declared_options()
        if name in option_names and name not in PEER_OPTIONS.get(peer, ())
    ]
    return f"{peer} is not measured with {', '.join(missing)}" if missing else ""


def convert_all(
    subject: Subject,
    variants: Sequence[str],
    peers: Sequence[str],
    folder: Path,
    threads: Sequence[int],
    *,
    decoding: Mapping[str, Any],
) -> list[Contender]:
    """Write a folder for every system: ours first, then the peers in order.

    A peer that has no parts for the model's architecture is left out, with a warning.

    Args:
        variants: ours; empty means all that a model folder has
        folder: an existing folder to write into; what it holds already is not converted again
        threads: the numbers of threads that every system computes with
        decoding: decoding options that are not neutral, for every system
    """
    contenders = [
        replace(contender, system=replace(contender.system, decoding=dict(decoding)))
        for contender in _ours(subject, variants, folder, threads)
    ]
    for peer in peers:
        assert subject.checkpoint is not None
        logger.info("converting for %s", peer)
        try:
            systems = list(CONVERTERS[peer](subject.checkpoint, folder, threads))
        except ExportError as error:
            logger.warning("left out: %s: %s", peer, error)
            continue
        digest = weights_digest(subject.checkpoint.model)
        for system in systems:
            system = replace(system, special_ids=subject.special_ids, decoding=dict(decoding))
            contenders.append(Contender(system, _megabytes(Path(system.folder)), digest))
    return contenders


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


def _ours(
    subject: Subject, variants: Sequence[str], folder: Path, threads: Sequence[int]
) -> list[Contender]:
    model_folder = subject.model_folder
    if model_folder is None:
        assert subject.checkpoint is not None
        logger.info("converting for tfm")
        unknown = next((variant for variant in variants if variant not in VARIANTS), None)
        if unknown is not None:
            raise BenchError(f"--variant {unknown}: choose of {', '.join(VARIANTS)}")
        model, vocabulary = subject.checkpoint.model, subject.checkpoint.vocabulary

        # Real weights are calibrated for int8 on real sentences.
        sources = () if subject.forced else subject.workload.pool

        def write(path: Path) -> None:
            path.mkdir()
            graphs = convert(model)
            write_model_folder(model, vocabulary, graphs, path, variants, "bench", sources)

        model_folder = _write_once(folder / f"tfm-{'-'.join(variants)}", write)
    config = ModelConfig.load(model_folder)
    digest = hashlib.sha256((model_folder / "config.json").read_bytes()).hexdigest()[:16]
    contenders = []
    for variant in variants or config.variants:
        if variant not in config.variants:
            known = ", ".join(config.variants)
            raise BenchError(f"--variant {variant}: {model_folder} has {known}")
        for count in threads:
            system = System(f"tfm {variant}", "tfm", str(model_folder), variant, count)
            contenders.append(Contender(system, _megabytes(model_folder / variant), digest))
    return contenders


def _ctranslate2(
    checkpoint: LoadedCheckpoint, folder: Path, threads: Sequence[int]
) -> Iterator[System]:
    """With one thread too: on some machines it is faster so, and its best mode is what counts."""
    from tfm.export.formats.ctranslate2 import write_ctranslate2

    for precision, quantization in (("int8", "int8"), ("float32", None)):
        write = partial(write_ctranslate2, checkpoint.model, quantization=quantization)
        path = _write_once(folder / f"ctranslate2-{precision}", write)
        for count in sorted({1, *threads}):
            name = f"CTranslate2 {precision}"
            yield System(name, "ctranslate2", str(path), precision, count)


def _optimum(
    checkpoint: LoadedCheckpoint, folder: Path, threads: Sequence[int]
) -> Iterator[System]:
    from .to_optimum import quantize_optimum, write_optimum

    transformers_folder = _write_once(
        folder / "transformers", partial(_write_transformers, checkpoint)
    )
    plain = _write_once(folder / "optimum-fp32", partial(write_optimum, transformers_folder))
    quantized = _write_once(folder / "optimum-int8", partial(quantize_optimum, plain))
    for precision, path in (("int8", quantized), ("fp32", plain)):
        for count in threads:
            yield System(f"optimum-onnx {precision}", "optimum", str(path), precision, count)


def _transformers(
    checkpoint: LoadedCheckpoint, folder: Path, threads: Sequence[int]
) -> Iterator[System]:
    path = _write_once(folder / "transformers", partial(_write_transformers, checkpoint))
    for count in threads:
        yield System("transformers fp32", "transformers", str(path), "fp32", count)


def _write_transformers(checkpoint: LoadedCheckpoint, folder: Path) -> None:
    write_transformers(checkpoint.model, folder, None, checkpoint.folder)


def _torch(checkpoint: LoadedCheckpoint, _folder: Path, threads: Sequence[int]) -> Iterator[System]:
    path = str(checkpoint.folder)
    for count in threads:
        yield System("PyTorch, no cache", "torch", path, "fp32", count, greedy_only=True)


Converter = Callable[[LoadedCheckpoint, Path, Sequence[int]], Iterator[System]]
CONVERTERS: dict[str, Converter] = {
    "ctranslate2": _ctranslate2,
    "optimum": _optimum,
    "transformers": _transformers,
    "torch": _torch,
}


def _write_once(path: Path, write: Callable[[Path], None]) -> Path:
    """Let `write` fill the folder, unless an earlier run did; it is never left half filled."""
    if not path.exists():
        unfinished = path.with_name(path.name + ".partial")
        shutil.rmtree(unfinished, ignore_errors=True)
        write(unfinished)
        unfinished.rename(path)
    return path


def _megabytes(folder: Path) -> float:
    """The size of a converted model without vocabularies; of a checkpoint, only the weights."""
    if (folder / "model.safetensors").exists():
        return (folder / "model.safetensors").stat().st_size / 1e6
    files = [path for path in folder.iterdir() if path.name not in VOCABULARY_FILES]
    return sum(path.stat().st_size for path in files) / 1e6
