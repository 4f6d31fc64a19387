"""Checkpoint in, verified model folder out."""

import dataclasses
import json
import logging
import os
import platform
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tfm.export.evaluation.alignment import choose_heads
from tfm.export.evaluation.verify import VariantReport, verify_folder
from tfm.export.formats.read_model_folder import CHECKPOINT_FILE, load_exportable
from tfm.export.graphs.compact_cache import compact_graph
from tfm.export.graphs.greedy import compose_greedy
from tfm.export.graphs.scoring import scoring_graph
from tfm.export.graphs.search import compose
from tfm.export.graphs.shared_weights import save_shared
from tfm.export.graphs.step import step_graph
from tfm.export.graphs.trace import Graphs, convert
from tfm.export.quantization.calibrate import (
    ActivationParams,
    activation_params,
    layer_inputs,
    params_of,
    random_sources,
)
from tfm.export.quantization.sensitivity import ROUNDED, sensitivities
from tfm.export.quantization.tune import (
    BASELINE,
    Development,
    Quality,
    compare,
    shorten,
    tune,
)
from tfm.export.quantization.variants import (
    CALIBRATED,
    VARIANTS,
    make_variant,
    open_to_check,
)
from tfm.export.shortlist.output_layer import OUTPUT_LAYER
from tfm.export.shortlist.prepared import LexicalShortlist, PreparedShortlist, PreviewShortlist
from tfm.runtime import capitals
from tfm.runtime.config import (
    Architecture,
    FileEntry,
    Languages,
    ModelConfig,
    SpecialIds,
    TokenizerFiles,
    VariantFiles,
)
from tfm.runtime.device import load_onnxruntime
from tfm.runtime.files.atomic import partial_folder
from tfm.runtime.options import DecodingOptions
from tfm.runtime.tokenizer import Tokenizer
from tfm.trainer import checkpoint as files
from tfm.trainer.data.shortlist import Shortlist
from tfm.trainer.data.vocabulary import SOURCE_FILE, TARGET_FILE, Vocabulary
from tfm.trainer.model import Transformer

from .decoding_defaults import decoding_defaults
from .errors import ExportError
from .preoptimize import preoptimize

logger = logging.getLogger(__name__)

VERIFY_FILE = "verify.json"
WEIGHTS_FILE = "weights.bin"
NEUTRAL = DecodingOptions()
PREOPTIMIZED = frozenset({"int8", "int4"})  # those that run on CPUs alone
MAX_SOURCE_LENGTH = 512  # tokens; the runtime cuts longer sentences


def export_checkpoint(
    checkpoint: Path,
    folder: Path,
    variants: Sequence[str],
    sentences: Sequence[str],
    references: Sequence[str] | None,
    development: Development | None = None,
    tokenize: str | None = None,
    options: DecodingOptions | None = None,
    shortlist: str | Path = "none",
    *,
    fold_capitals: bool = False,
) -> dict[str, VariantReport]:
    """Export a checkpoint, verify every variant, and only then put the model folder in place.

    Other files that the folder already holds (a model card, a recipe) stay; its variants are
    replaced.

    Args:
        sentences: real source sentences to calibrate and to verify on
        references: their translations, or None
        development: other sentences, to measure the quality of every variant on and to limit what
            it may lose
        tokenize: the name of sacrebleu's tokenizer for the BLEU of `references`; None is the
            target language's
        options: what the model folder is to have as its own; None is what the checkpoint brings
        shortlist: "preview", "none", or a file that `tfm shortlist` wrote
        fold_capitals: whether the runtime reads sentences in capitals in small letters

    Raises:
        ExportError: conversion or verification failed, or a variant loses too much; the folder is
            as it was before
        TrainError: the checkpoint cannot be read
    """
    folder = folder.resolve()
    _check_target(folder, checkpoint)
    model, vocabulary = load_exportable(checkpoint)
    options = options or decoding_defaults(checkpoint, model.config.target_vocab_size)
    options.check_vocabulary(model.config.target_vocab_size)
    table = None
    if isinstance(shortlist, Path):
        table = Shortlist.load(shortlist, vocabulary, model.config)
    if fold_capitals:
        sentences = [capitals.fold_capitals(sentence) for sentence in sentences]
    logger.info("converting to ONNX")
    graphs = convert(model)
    sources = vocabulary.encode_source(sentences, model.config)
    ranges: ActivationParams = {}
    listed: PreparedShortlist | None = None
    if table is not None:
        listed = LexicalShortlist(graphs, table, model.config)
    if CALIBRATED & set(variants) or shortlist == "preview":
        inputs = layer_inputs(model, sources)
        ranges = params_of(inputs)
        if shortlist == "preview":
            listed = PreviewShortlist.fit(graphs, inputs[OUTPUT_LAYER].numpy())
    with partial_folder(folder) as staging:
        source = Source(
            model, vocabulary, graphs, ranges, folder.name, options, listed, fold_capitals
        )
        quality = {} if development is None else _quality(source, variants, sources, development)
        in_float = {variant: result.kept_float for variant, result in quality.items()}
        _write(source, staging, variants, in_float)
        reports = verify_folder(
            model, vocabulary, staging, variants, sentences, references, tokenize
        )
        reports = {
            variant: dataclasses.replace(report, quality=quality.get(variant))
            for variant, report in reports.items()
        }
        failures = [f"{v}: {f}" for v, report in reports.items() for f in report.failures]
        if failures:
            raise ExportError(f"verification failed, nothing was written: {'; '.join(failures)}")
        if references is not None:
            _choose_alignment(staging, variants[0], sentences, references)
        _write_report(staging / VERIFY_FILE, reports)
        _install(staging, folder)
    return reports


def _choose_alignment(
    folder: Path, variant: str, sentences: Sequence[str], references: Sequence[str]
) -> None:
    """Write into config.json which heads align words."""
    config = ModelConfig.load(folder)
    with open_to_check(folder, variant) as translator:
        choice = choose_heads(
            config, translator.sessions, Tokenizer(folder, config), sentences, references
        )
    if choice is None:
        logger.info("alignment: too few words are on both sides to choose heads by")
        return
    logger.info(
        "alignment: layer %d, heads %s of the %s step align %.1f %% of %d shared words",
        choice.heads.layer,
        ", ".join(map(str, choice.heads.heads)),
        "next" if choice.heads.from_next_step else "same",
        100 * choice.accuracy,
        choice.words,
    )
    dataclasses.replace(config, alignment=choice.heads).save(folder)


def _check_target(folder: Path, checkpoint: Path) -> None:
    """Refuse to overwrite a checkpoint or a file."""
    if folder == checkpoint.resolve():
        raise ExportError(f"{folder} is the checkpoint itself: choose another folder")
    if folder.exists() and not folder.is_dir():
        raise ExportError(f"{folder} is a file: choose another name for the model folder")
    if any((folder / name).exists() for name in (files.MODEL, files.LAST, files.TOKENS)):
        raise ExportError(f"{folder} is a checkpoint: choose another folder for the model")


@dataclass(frozen=True, slots=True)
class Source:
    """What every variant of a model folder is made of."""

    model: Transformer
    vocabulary: Vocabulary
    graphs: Graphs
    ranges: ActivationParams
    name: str
    options: DecodingOptions  # the model's own
    shortlist: PreparedShortlist | None = None
    fold_capitals: bool = False


def _quality(
    source: Source,
    variants: Sequence[str],
    sources: Sequence[Sequence[int]],
    development: Development,
) -> dict[str, Quality]:
    """Tune the variants in folders that are gone afterwards, and say how they did."""

    whole = dataclasses.replace(source, shortlist=None)

    def write(folder: Path, variant: str, exclude: Collection[str]) -> None:
        folder.mkdir(parents=True)
        _write(whole, folder, [variant], {variant: exclude})

    def write_listed(folder: Path, variant: str, exclude: Collection[str]) -> None:
        folder.mkdir(parents=True)
        _write(source, folder, [variant], {variant: exclude})

    def rank(variant: str) -> list[str]:
        if variant not in ROUNDED:
            return []  # no layer is rounded: none can be excluded
        logger.info("ranking the linear layers by what they lose in %s", variant)
        return list(sensitivities(source.model, sources, variant, source.ranges))

    with tempfile.TemporaryDirectory() as trials:
        tuned = tune(variants, write, rank, Path(trials), development)
        if source.shortlist is None:
            return compare(tuned, development.sources)
        folder = Path(trials, source.shortlist.kind)
        listed = shorten(tuned, variants, write_listed, folder, development)
        return compare(listed, development.sources, tuned[BASELINE])


def write_model_folder(
    model: Transformer,
    vocabulary: Vocabulary,
    graphs: Graphs,
    folder: Path,
    variants: Sequence[str],
    name: str,
    sources: Sequence[Sequence[int]] = (),
    options: DecodingOptions = NEUTRAL,
    shortlist: PreparedShortlist | None = None,
) -> None:
    """Write config.json, the vocabulary and the variants into an empty folder, unverified.

    Args:
        sources: token ids of real sentences, to calibrate int8 on; random ids when there are
            none, which fits random weights only
        options: the model's own decoding options
    """
    calibrated = CALIBRATED & set(variants)
    sources = sources or random_sources(model.config)
    ranges = activation_params(model, sources) if calibrated else {}
    source = Source(model, vocabulary, graphs, ranges, name, options, shortlist)
    _write(source, folder, variants, {})


def _write(
    source: Source,
    folder: Path,
    variants: Sequence[str],
    exclude: Mapping[str, Collection[str]],
) -> None:
    """Write into an empty folder, leaving some linear layers in float, by variant."""
    vocabulary, config = source.vocabulary, source.model.config
    vocabulary.save(folder)
    text = json.dumps(dataclasses.asdict(config), indent=2, ensure_ascii=False)
    (folder / CHECKPOINT_FILE).write_text(text + "\n", "utf-8")
    prefix = list(config.target_language_ids)
    if source.options.target_prefix:
        encoded = vocabulary.encode_target([source.options.target_prefix], config)[0]
        prefix = encoded[1:-1]  # without BOS and EOS
    for variant in variants:
        logger.info("writing %s", variant)
        (folder / variant).mkdir()
        made = make_variant(source.graphs, variant, source.ranges, exclude.get(variant, ()))
        score = scoring_graph(made, config)  # of every token, whatever a shortlist leaves out
        if source.shortlist is not None:
            made = source.shortlist.apply(made)
        files = {
            "encoder": made.encoder,
            "decoder": step_graph(made.decoder, config),
            "compact": compact_graph(made, config),
            "translate": compose(made, config, source.options, prefix),
            "greedy": compose_greedy(made, config, source.options, prefix),
            "score": score,
        }
        save_shared(
            [(folder / variant / f"{part}.onnx", graph) for part, graph in files.items()],
            folder / variant / WEIGHTS_FILE,
        )
        if variant in PREOPTIMIZED:
            for graph in ("translate", "greedy"):
                preoptimize(folder / variant / f"{graph}.onnx")
    _folder_config(source, folder, variants).save(folder)


def _folder_config(source: Source, folder: Path, variants: Sequence[str]) -> ModelConfig:
    """config.json of a folder in which all other files are there already."""
    model, vocabulary, config = source.model, source.vocabulary, source.model.config
    joint = vocabulary.source is vocabulary.target
    return ModelConfig(
        name=source.name,
        architecture=Architecture(
            d_model=config.d_model,
            d_ff=config.d_ff,
            num_heads=config.num_heads,
            encoder_layers=config.encoder_layers,
            decoder_layers=config.decoder_layers,
            source_vocab_size=config.source_vocab_size,
            target_vocab_size=config.target_vocab_size,
            norm=config.norm,
            decoder_autoregression=config.decoder_autoregression,
            positions=config.positions,
            first_position=config.first_position,
            parameters=sum(p.numel() for p in model.parameters()),
        ),
        languages=Languages(
            source=config.source_language,
            target=config.target_language,
            language_token=config.language_token,
            language_ids=dict(config.language_ids),
        ),
        special_ids=SpecialIds(
            bos_id=config.bos_id,
            eos_id=config.eos_id,
            pad_id=config.pad_id,
            unk_id=config.unk_id,
        ),
        max_source_length=MAX_SOURCE_LENGTH,
        source_eos=config.source_eos,
        fold_capitals=source.fold_capitals,
        decoding=source.options,
        tokenizer=TokenizerFiles(
            source=FileEntry.of(folder, SOURCE_FILE),
            target=FileEntry.of(folder, SOURCE_FILE if joint else TARGET_FILE),
        ),
        variants={variant: _variant(folder, variant) for variant in variants},
        shortlist="none" if source.shortlist is None else source.shortlist.kind,
    )


def _variant(folder: Path, variant: str) -> VariantFiles:
    return VariantFiles(
        encoder=FileEntry.of(folder, f"{variant}/encoder.onnx"),
        decoder=FileEntry.of(folder, f"{variant}/decoder.onnx"),
        compact=FileEntry.of(folder, f"{variant}/compact.onnx"),
        translate=FileEntry.of(folder, f"{variant}/translate.onnx"),
        greedy=FileEntry.of(folder, f"{variant}/greedy.onnx"),
        score=FileEntry.of(folder, f"{variant}/score.onnx"),
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
