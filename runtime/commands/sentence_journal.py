"""The sentences of a document that are translated already, in a file beside the output, so that a
document whose translation was interrupted is continued and not begun again."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tfm.runtime.alignment import Alignment
from tfm.runtime.documents.document import AlignedText
from tfm.runtime.documents.translate import Untranslated
from tfm.runtime.errors import TfmError
from tfm.runtime.files.lock import try_lock
from tfm.runtime.translation import Hypothesis, Translation

from .output_settings import Settings
from .resumable_output import part_of


class SentenceJournal:
    """An open journal.

    Attributes:
        done: what an earlier run translated
    """

    def __init__(self, stream: BinaryIO, done: list[AlignedText]) -> None:
        self._stream, self.done = stream, done

    def add(self, translations: Sequence[AlignedText]) -> None:
        """Record further sentences, on the disk."""
        for translation in translations:
            line = json.dumps(_as_json(translation), ensure_ascii=True, separators=(",", ":"))
            self._stream.write(line.encode("ascii") + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())


@contextlib.contextmanager
def open_journal(
    output: Path, content: bytes, settings: Settings, *, resume: bool
) -> Iterator[SentenceJournal]:
    """Open the journal of an output; it is removed at the end, unless an error ends the block.

    Args:
        content: of the input
        resume: go on with what an earlier run recorded, if it did

    Raises:
        TfmError: it was made with another input or other settings, or another run writes it
    """
    path = part_of(output)
    head = {"input": hashlib.sha256(content).hexdigest(), **settings}
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as stream:
        if not try_lock(stream):
            raise TfmError(f"{path} is being written by another run: wait for it")
        done = _read(stream, path, head) if resume else []
        if not done:
            stream.seek(0)
            stream.truncate()
            stream.write(json.dumps(head, ensure_ascii=True).encode("ascii") + b"\n")
        yield SentenceJournal(stream, done)
    path.unlink(missing_ok=True)


def _read(stream: BinaryIO, path: Path, head: dict[str, Any]) -> list[AlignedText]:
    """What the journal has; it is left at the end of its last whole line."""
    lines = stream.read().split(b"\n")[:-1]  # the last one is empty, or was not finished
    if not lines:
        return []
    try:
        before = json.loads(lines[0])
        done = [_of_json(json.loads(line)) for line in lines[1:]]
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise TfmError(f"{path} is damaged: leave out --resume to start anew") from error
    for name in {**before, **head}:
        if before.get(name) != head.get(name):
            raise TfmError(
                f"{path} was made with {name} {before.get(name)}, this run has {head.get(name)}:"
                " give the same, or leave out --resume to start anew"
            )
    size = sum(len(line) + 1 for line in lines)
    stream.seek(size)
    stream.truncate()
    return done


def _as_json(translation: AlignedText) -> dict[str, Any]:
    fields: dict[str, Any] = {"text": translation.text}
    if isinstance(translation, Translation):
        best = translation.hypotheses[0]
        fields |= {"source": translation.source, "truncated": best.truncated}
        fields["unmet"] = translation.unmet
    if (alignment := translation.alignment) is not None:
        fields["source_spans"] = alignment.source_spans
        fields["target_spans"] = alignment.target_spans
        fields["pairs"] = alignment.pairs
    return fields


def _of_json(fields: dict[str, Any]) -> AlignedText:
    if "source" not in fields:
        return Untranslated(fields["text"])
    alignment = None
    if "pairs" in fields:
        sources, targets = (
            tuple((begin, end) for begin, end in fields[name])
            for name in ("source_spans", "target_spans")
        )
        weights = np.zeros((len(targets), len(sources)), np.float32)
        for source, target in fields["pairs"]:
            weights[target, source] = 1
        alignment = Alignment(fields["source"], fields["text"], sources, targets, weights)
    best = Hypothesis(fields["text"], 0.0, (), truncated=fields["truncated"])
    return Translation(fields["source"], (best,), unmet=tuple(fields["unmet"]), alignment=alignment)
