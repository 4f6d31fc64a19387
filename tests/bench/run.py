"""A whole run: convert, measure, report."""

import logging
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tfm.runtime.files.atomic import write_text
from tfm.runtime.options import DecodingOptions
from tfm.trainer.data.batches import pad

from .contenders import Contender, choose_peers, convert_all
from .errors import BenchError
from .machine import processor, versions
from .measure import measure
from .measurements import open_measurements
from .plan import Plan
from .pool import terminable
from .report import as_markdown, relative_speeds, write_json
from .results import Results, results_of
from .subject import SHAPES, Subject, find_folder, open_subject, weights_digest
from .systems import FILE_BATCH, chunks, threads_name
from .workload import SOURCE_LENGTH, Ids

logger = logging.getLogger(__name__)

DEFAULT_VARIANTS = ("int8", "fp32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the command was asked for besides the plan; see cli.py."""

    against: Sequence[str] | None
    variants: Sequence[str]
    vocab_size: int | None
    length: int | None
    sentences: Path | None
    count: int
    keep: Path | None
    output: Path | None
    busy: Sequence[int]


def run(models: Sequence[str], plan: Plan, request: Request) -> Iterator[str]:
    """Measure each model, and yield a report for each of them and number of busy neighbours.

    On Ctrl-C it yields the report of what was measured so far before KeyboardInterrupt goes on.

    Raises:
        BenchError: an argument cannot be used, or a system failed
        TrainError, ModelError, ExportError: the model cannot be read
    """
    torch.set_num_threads(max(1, *plan.threads))
    _check_names(models)
    many = len(models) * len(request.busy) > 1
    with terminable():
        for model in models:
            with tempfile.TemporaryDirectory(prefix="tfm-bench-") as temporary:
                name = Path(model).name
                keep = request.keep / name if request.keep and len(models) > 1 else request.keep
                folder = keep or Path(temporary)
                folder.mkdir(parents=True, exist_ok=True)
                own_plan, own_request = plan, request
                if len(models) > 1:
                    own_plan, own_request = _of_kind(model, plan, request)
                prepared = _prepare(model, own_plan, own_request, folder)
                for neighbours in request.busy:
                    output = request.output
                    if output and many:
                        output /= f"{name}-busy-{neighbours}" if neighbours else name
                    yield from _run_one(
                        prepared, own_plan.beside(neighbours), Path(temporary), output
                    )


def _check_names(models: Sequence[str]) -> None:
    """Raise BenchError before anything is measured if a model is missing or named twice."""
    names = [Path(model).name for model in models]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BenchError(f"two models are named {twice}: measure them one by one")
    for model in models:
        if model not in SHAPES:
            find_folder(model)


def _of_kind(model: str, plan: Plan, request: Request) -> tuple[Plan, Request]:
    """Among several models, without the options that are for models of the other kind."""
    if model in SHAPES:
        return plan, replace(request, sentences=None)
    return replace(plan, length_scaling=False), replace(request, vocab_size=None)


@dataclass(frozen=True, slots=True)
class _Prepared:
    subject: Subject
    contenders: list[Contender]
    decoding: Mapping[str, Any]


def _prepare(model: str, plan: Plan, request: Request, folder: Path) -> _Prepared:
    """Load the model and convert it for every system."""
    subject = open_subject(
        model,
        vocab_size=request.vocab_size,
        length=request.length,
        sentences=request.sentences,
        count=request.count,
        folder=folder,
    )
    if plan.length_scaling and not subject.forced:
        raise BenchError(f"--length-scaling needs a preset: {subject.name} ends where it likes")
    _check_kept(folder, subject)
    changes = _changed_options(plan.decoding, subject.workload.length)
    peers = choose_peers(request.against, subject, changes)
    ours = request.variants or (() if subject.model_folder else DEFAULT_VARIANTS)
    contenders = convert_all(subject, ours, peers, folder, plan.threads, decoding=changes)
    return _Prepared(subject, contenders, changes)


def _run_one(prepared: _Prepared, plan: Plan, logs: Path, output: Path | None) -> Iterator[str]:
    subject, contenders = prepared.subject, prepared.contenders
    if output:
        output.mkdir(parents=True, exist_ok=True)
    with open_measurements(output, plan.identity(subject, contenders)) as measured:
        if len(measured):
            logger.info("%s: going on after %d measurements", output, len(measured))
        reference = None if prepared.decoding else _greedy(subject)
        stopped: KeyboardInterrupt | None = None
        try:
            measure(contenders, subject.workload, plan, logs, measured, reference)
        except KeyboardInterrupt as interrupt:
            stopped = interrupt
        results = results_of(measured, contenders, subject.workload, plan)
        results.settings = _settings(prepared, plan, results)
        if stopped:
            results.settings["state"] = "stopped before everything was measured"
    report = as_markdown(results)
    if output:
        _write(results, report, output, subject.name)
    yield report
    if stopped:
        if output:
            logger.info("stopped: the same command goes on from what %s holds", output)
        raise stopped


def _write(results: Results, report: str, output: Path, name: str) -> None:
    write_json(results, output / "results.json")
    write_text(output / "report.md", report + "\n")
    for threads in results.threads():
        relative = relative_speeds(results, results.tokens_per_s, threads)
        if relative:
            from .chart import write_chart

            write_chart(
                relative,
                results.cells,
                f"Decoding speed beside CTranslate2: {name}",
                f"{threads_name(threads)}, {processor()}; b: sentences at a time",
                output / f"chart-{threads_name(threads).replace(' ', '-')}.png",
            )


def _changed_options(decoding: Mapping[str, Any], length: int) -> dict[str, Any]:
    """The decoding options that are not neutral.

    Raises:
        BenchError: translations of this many tokens cannot be as long as they have to
    """
    min_length = decoding.get("min_length", 0)
    if min_length > length:
        raise BenchError(f"--min-length {min_length} is more than --length {length}: lower it")
    options = DecodingOptions(max_length=length, **decoding)
    return {name: value for name, value in options.set_options().items() if name != "max_length"}


def _check_kept(folder: Path, subject: Subject) -> None:
    """Raise BenchError when the --keep folder was written for other weights."""
    identity = subject.name
    if subject.checkpoint is not None:
        identity += f" {weights_digest(subject.checkpoint.model)}"
    note = folder / "weights.txt"
    if note.exists() and note.read_text("utf-8") != identity:
        raise BenchError(f"--keep {folder} holds conversions of other weights: choose another")
    note.write_text(identity, "utf-8")


def _greedy(subject: Subject) -> Callable[[Ids], Ids] | None:
    """A function that gives PyTorch's greedy outputs; None for a model folder."""
    if subject.checkpoint is None:
        return None
    model, length = subject.checkpoint.model, subject.workload.length

    def outputs(sources: Ids) -> Ids:
        rows = (pad(chunk, model.config.pad_id) for chunk in chunks(sources, FILE_BATCH))
        return [ids for chunk in rows for ids in model.greedy(chunk, length)]

    return outputs


def _named(changes: Mapping[str, Any]) -> str:
    """`repetition_penalty 1.3, no_repeat_ngram_size 2`."""
    return ", ".join(f"{name} {value}" for name, value in changes.items())


def _settings(prepared: _Prepared, plan: Plan, results: Results) -> dict[str, str]:
    subject = prepared.subject
    length = subject.workload.length
    source = f"source {SOURCE_LENGTH} tokens (mixed: 3 to 60)" if subject.forced else "real text"
    threads = ", ".join(map(str, plan.threads))
    settings = {
        "model": subject.name,
        "lengths": f"{source}, target {'' if subject.forced else 'at most '}{length}",
        "threads": f"{threads} thread{'s' if threads != '1' else ''}",
        "rounds": f"median of {_count(plan.rounds, 'round')}",
        "versions": versions(),
        "processor": processor(),
    }
    if prepared.decoding:
        settings["options"] = _named(prepared.decoding)
    if plan.busy:
        settings["busy"] = f"beside {_count(plan.busy, 'busy neighbour')} of one thread each"
    shares = [share for cells in results.other_load.values() for share in cells.values()]
    if shares:
        settings["others"] = (
            f"other processes used {statistics.mean(shares):.0%} of it, in the worst cell"
            f" {max(shares):.0%}"
        )
    return settings


def _count(number: int, thing: str) -> str:
    """`1 round`, `2 rounds`."""
    return f"{number} {thing}{'s' if number != 1 else ''}"
