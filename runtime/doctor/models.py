"""Findings about a model folder: its files, its graphs, and a sentence that it translates."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from tfm.runtime.bundled import BUNDLED_MODELS, find_model
from tfm.runtime.config import FileEntry, ModelConfig
from tfm.runtime.errors import ModelError
from tfm.runtime.files.display import printable

from . import trial_process
from .finding import Finding, ok, problem, warning


def models_to_check(named: tuple[str, ...]) -> tuple[str, ...]:
    """Those that were named, or that of TFM_MODEL, or all that are bundled."""
    if named:
        return named
    of_environment = os.environ.get("TFM_MODEL")
    return (of_environment,) if of_environment else BUNDLED_MODELS


def model_findings(model: str) -> Iterator[Finding]:
    """Everything about one model, a folder or a bundled model's name."""
    check = f"model {printable(model)}"
    try:
        folder = find_model(model).absolute()
        config = ModelConfig.load(folder)
        damaged = _damaged_files(folder, config)
    except ModelError as error:
        yield problem(check, printable(str(error)))
        return
    except OSError as error:
        yield problem(check, f"{printable(str(error.filename))}: {error.strerror}")
        return
    if damaged:
        for variant, text in damaged:
            # A variant of its own may be damaged while the one in use is not: that shows below.
            yield warning(f"{check} files", printable(text), "", variant=variant)
    else:
        names = ", ".join(config.fingerprint(name) + f" {name}" for name in sorted(config.variants))
        yield ok(f"{check} files", f"all have their size and sha256: {names}", folder=str(folder))
    experiment = trial_process.run("model", str(folder))
    yield from _graph_findings(check, experiment)
    yield from _translation_findings(check, experiment)


def _damaged_files(folder: Path, config: ModelConfig) -> list[tuple[str, str]]:
    """Variant ("" of all) and error of each file that is not what config.json says."""
    entries = {
        ("", entry.path): entry for entry in (config.tokenizer.source, config.tokenizer.target)
    }
    for variant, files in sorted(config.variants.items()):
        found = (getattr(files, field.name) for field in fields(files))
        entries |= {(variant, e.path): e for e in found if isinstance(e, FileEntry)}
    errors = []
    for (variant, _), entry in entries.items():
        try:
            entry.verify(folder)
        except ModelError as error:
            errors.append((variant, str(error)))
    return errors


def _graph_findings(check: str, experiment: trial_process.Experiment) -> Iterator[Finding]:
    """Whether the graphs of all variants can be loaded, and for which versions they were made."""
    graphs = experiment.of("graph")
    for report in graphs:
        if "error" in report:
            yield warning(f"{check} {report['variant']}", printable(report["error"]), "", **report)
    good = [report for report in graphs if "error" not in report]
    counts = Counter(report["variant"] for report in good)
    if good:
        opened = ", ".join(f"{variant} {count}" for variant, count in sorted(counts.items()))
        yield ok(
            f"{check} graphs", f"opened, and as config.json says: {opened}", opened=dict(counts)
        )
    known = [report for report in graphs if "opsets" in report]
    if known:
        newest = max(report["ir"] for report in known)
        opsets: dict[str, int] = {}
        for report in known:
            for domain, version in report["opsets"].items():
                opsets[domain] = max(version, opsets.get(domain, 0))
        needs = ", ".join(f"{domain} {version}" for domain, version in sorted(opsets.items()))
        text = f"an onnxruntime that knows ONNX IR {newest} and the operators of {needs}"
        yield ok(f"{check} needs", text, ir=newest, opsets=opsets)
    for report in experiment.of("refused"):
        yield ok(f"{check} {report['variant']}", f"not opened: {printable(report['error'])}")


def _translation_findings(check: str, experiment: trial_process.Experiment) -> Iterator[Finding]:
    opened, translated = experiment.last("opened"), experiment.last("translated")
    if opened is not None:
        yield ok(
            f"{check} runs",
            f"{opened['variant']} on {opened['device']}: {opened['reason']}; loaded in"
            f" {opened['seconds']:.2f} s, {opened['threads']} threads at most",
            **opened,
        )
    if translated is not None:
        yield _sentence_finding(check, translated, experiment.last("memory"))
        return
    failed = experiment.last("failed")
    if failed is not None:
        yield problem(check, printable(failed["error"]))
        return
    where = experiment.last_begun
    advice = "see the line about onnxruntime" if where == "onnxruntime" else ""
    yield problem(check, f"cannot translate: {experiment.error} (in {where})", advice)


def _sentence_finding(check: str, found: dict[str, Any], memory: dict[str, Any] | None) -> Finding:
    search = "greedy search" if found["beam_size"] == 1 else f"beam {found['beam_size']}"
    peak = None if memory is None else memory["peak_bytes"]
    text = (
        f"{found['source']} -> {printable(found['text'])!s}: {found['source_tokens']} tokens in,"
        f" {found['target_tokens']} out, {found['seconds'] * 1e3:.1f} ms, {search}"
        f" ({found['route']})"
    )
    text += "" if peak is None else f", {peak / 1e6:.0f} MB of memory at most"
    facts = {**found, "peak_bytes": peak}
    if not found["text"].strip():
        advice = "compare with tfm evaluate: a model that writes nothing is not trained"
        return warning(f"{check} sentence", text, advice, **facts)
    return ok(f"{check} sentence", text, **facts)
