"""Checkpoint in, verified model folder out."""

import dataclasses
import json
import logging
import os
import platform
import shutil
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import onnx

from tfm.runtime.config import (
    Architecture,
    Decoding,
    FileEntry,
    Languages,
    ModelConfig,
    SpecialIds,
    Tokenizer,
    Variant,
)
from tfm.runtime.device import load_onnxruntime
from tfm.trainer.checkpoint import load_checkpoint
from tfm.trainer.model import Transformer
from tfm.trainer.vocabulary import SOURCE_FILE, TARGET_FILE, Vocabulary

from .convert import Graphs, convert
from .errors import ExportError
from .quantize import quantize_int8
from .verify import VariantReport, verify_folder
from .weights import save_shared

logger = logging.getLogger(__name__)

VERIFY_FILE = "verify.json"
WEIGHTS_FILE = "weights.bin"
DECODING = Decoding(beam_size=4, length_penalty=1.0, max_length=256, max_source_length=512)


def _as_converted(model: onnx.ModelProto) -> onnx.ModelProto:
    return model


VARIANTS: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "fp32": _as_converted,
    "int8": quantize_int8,
}


def export_checkpoint(
    checkpoint: Path,
    folder: Path,
    variants: Sequence[str],
    sentences: Sequence[str],
    references: Sequence[str] | None,
) -> dict[str, VariantReport]:
    """Export a checkpoint, verify every variant, and only then put the model folder in place.

    Other files that the folder already holds (a model card, a recipe) stay; its variants are
    replaced.

    Args:
        sentences: real source sentences to verify on
        references: their translations, or None

    Raises:
        ExportError: conversion or verification failed; the folder is as it was before
        TrainError: the checkpoint cannot be read
    """
    folder = folder.resolve()
    if folder == checkpoint.resolve():
        raise ExportError(f"{folder} is the checkpoint itself: choose another folder")
    model, vocabulary = load_checkpoint(checkpoint)
    if folder.exists() and not folder.is_dir():
        raise ExportError(f"{folder} is a file: choose another name for the model folder")
    logger.info("converting to ONNX")
    graphs = convert(model)
    staging = folder.with_name(folder.name + ".partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        write_model_folder(model, vocabulary, graphs, staging, variants, folder.name)
        reports = verify_folder(model, vocabulary, staging, variants, sentences, references)
        failures = [f"{v}: {f}" for v, report in reports.items() for f in report.failures]
        if failures:
            raise ExportError(f"verification failed, nothing was written: {'; '.join(failures)}")
        _write_report(staging / VERIFY_FILE, reports)
        _install(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return reports


def write_model_folder(
    model: Transformer,
    vocabulary: Vocabulary,
    graphs: Graphs,
    folder: Path,
    variants: Sequence[str],
    name: str,
) -> None:
    """Write config.json, the vocabulary and the variants into an empty folder, unverified."""
    vocabulary.save(folder)
    for variant in variants:
        logger.info("writing %s", variant)
        (folder / variant).mkdir()
        save_shared(
            [(folder / variant / f"{part}.onnx", VARIANTS[variant](g)) for part, g in graphs],
            folder / variant / WEIGHTS_FILE,
        )
    config = model.config
    joint = vocabulary.source is vocabulary.target
    ModelConfig(
        name=name,
        architecture=Architecture(
            d_model=config.d_model,
            d_ff=config.d_ff,
            num_heads=config.num_heads,
            encoder_layers=config.encoder_layers,
            decoder_layers=config.decoder_layers,
            source_vocab_size=config.source_vocab_size,
            target_vocab_size=config.target_vocab_size,
            norm=config.norm,
            parameters=sum(p.numel() for p in model.parameters()),
        ),
        languages=Languages(source=config.source_language, target=config.target_language),
        special_ids=SpecialIds(
            bos_id=config.bos_id,
            eos_id=config.eos_id,
            pad_id=config.pad_id,
            unk_id=config.unk_id,
        ),
        decoding=DECODING,
        tokenizer=Tokenizer(
            source=FileEntry.of(folder, SOURCE_FILE),
            target=FileEntry.of(folder, SOURCE_FILE if joint else TARGET_FILE),
        ),
        variants={variant: _variant(folder, variant) for variant in variants},
    ).save(folder)


def _variant(folder: Path, variant: str) -> Variant:
    return Variant(
        encoder=FileEntry.of(folder, f"{variant}/encoder.onnx"),
        decoder=FileEntry.of(folder, f"{variant}/decoder.onnx"),
        weights=FileEntry.of(folder, f"{variant}/{WEIGHTS_FILE}"),
    )


def _write_report(path: Path, reports: dict[str, VariantReport]) -> None:
    packages = ("tfm", "torch", "onnx", "onnxscript", "onnxsim", "sacrebleu")
    content = {
        "versions": {
            "python": platform.python_version(),
            "onnxruntime": load_onnxruntime().__version__,  # of whichever wheel brought it
            **{package: version(package) for package in packages},
        },
        "variants": {name: dataclasses.asdict(report) for name, report in reports.items()},
    }
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def _install(staging: Path, folder: Path) -> None:
    """Move what was written into folder; config.json last, because it names the other files."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (*VARIANTS, TARGET_FILE):
        path = folder / stale
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for path in sorted(staging.iterdir(), key=lambda p: p.name == "config.json"):
        os.replace(path, folder / path.name)
