"""A whole run: convert, measure, report."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tfm.runtime.options import DecodingOptions
from tfm.trainer.data.batches import pad

from .contenders import choose_peers, convert_all
from .errors import BenchError
from .machine import OtherProcesses, processor, versions
from .measure import Plan, measure
from .pool import terminable
from .report import as_markdown, relative_speeds, write_json
from .subject import Subject, open_subject, weights_digest
from .systems import FILE_BATCH, chunks
from .workload import SOURCE_LENGTH, Ids

DEFAULT_VARIANTS = ("int8", "fp32")


def run(
    model: str,
    plan: Plan,
    *,
    against: Sequence[str] | None,
    variants: Sequence[str],
    threads: int,
    decoding: Mapping[str, Any],
    vocab_size: int | None,
    length: int | None,
    sentences: Path | None,
    count: int,
    keep: Path | None,
    output: Path | None,
) -> str:
    """Measure and return the report; see cli.py for the arguments.

    Raises:
        BenchError: an argument cannot be used, or a system failed
        TrainError, ModelError: the model cannot be read
    """
    torch.set_num_threads(threads)
    with terminable(), tempfile.TemporaryDirectory(prefix="tfm-bench-") as temporary:
        logs = Path(temporary)
        folder = logs if keep is None else keep
        folder.mkdir(parents=True, exist_ok=True)
        subject = open_subject(
            model,
            vocab_size=vocab_size,
            length=length,
            sentences=sentences,
            count=count,
            folder=folder,
        )
        if plan.length_scaling and not subject.forced:
            raise BenchError(f"--length-scaling needs a preset: {subject.name} ends where it likes")
        _check_kept(folder, subject)
        changes = _changed_options(decoding, subject.workload.length)
        peers = choose_peers(against, subject, changes)
        ours = variants or (DEFAULT_VARIANTS if subject.checkpoint else ())
        floor = "floor" in plan.parts and subject.forced
        contenders = convert_all(
            subject, ours, peers, folder, threads, floor=floor, decoding=changes
        )
        other_processes = OtherProcesses()
        reference = None if changes else _greedy(subject)
        results = measure(contenders, subject.workload, plan, logs, reference)
    results.settings = _settings(subject, plan, threads, changes, other_processes.share())
    if output:
        output.mkdir(parents=True, exist_ok=True)
        write_json(results, output / "results.json")
        relative = relative_speeds(results)
        if relative:
            from .chart import write_chart

            write_chart(
                relative,
                results.cells,
                f"Decoding speed beside CTranslate2: {subject.name}",
                f"{_count(threads, 'thread')}, {processor()}; b: sentences at a time",
                output / "chart.png",
            )
    return as_markdown(results)


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


def _count(number: int, thing: str) -> str:
    """`1 thread`, `2 threads`."""
    return f"{number} {thing}{'s' if number != 1 else ''}"


def _named(changes: Mapping[str, Any]) -> str:
    """`repetition_penalty 1.3, no_repeat_ngram_size 2`."""
    return ", ".join(f"{name} {value}" for name, value in changes.items())


def _settings(
    subject: Subject,
    plan: Plan,
    threads: int,
    changes: Mapping[str, Any],
    others_share: float | None,
) -> dict[str, str]:
    length = subject.workload.length
    source = f"source {SOURCE_LENGTH} tokens (mixed: 3 to 60)" if subject.forced else "real text"
    return {
        "model": subject.name,
        "lengths": f"{source}, target {'' if subject.forced else 'at most '}{length}",
        **({"options": _named(changes)} if changes else {}),
        "threads": _count(threads, "thread"),
        "rounds": f"median of {_count(plan.rounds, 'round')}",
        "versions": versions(),
        "processor": processor(),
        **(
            {}
            if others_share is None
            else {"others": f"other processes used {others_share:.0%} of it"}
        ),
    }
