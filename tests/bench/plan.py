"""What a run measures."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .contenders import Contender
from .machine import processor, versions
from .subject import Subject
from .workload import Cell, Workload

# Beside busy neighbours: what a new process takes, and what is counted, does not depend on them.
PARTS_BESIDE_NEIGHBOURS = ("cells", "mixed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure.

    Attributes:
        parts: some of PARTS of cli.py
        threads: numbers of threads that every system computes with
        busy: neighbours that compute meanwhile (busy.py)
        decoding: decoding options that are not neutral, by name
    """

    batches: Sequence[int]
    beams: Sequence[int]
    rounds: int
    parts: Sequence[str]
    length_scaling: bool
    threads: Sequence[int]
    busy: int = 0
    decoding: Mapping[str, Any]

    def cells(self, workload: Workload) -> list[Cell]:
        """The columns of the table."""
        batches = self.batches if "cells" in self.parts else ()
        return workload.cells(batches, self.beams, mixed="mixed" in self.parts)

    def beside(self, neighbours: int) -> "Plan":
        """This plan beside so many busy neighbours."""
        if not neighbours:
            return replace(self, busy=0)
        parts = [part for part in self.parts if part in PARTS_BESIDE_NEIGHBOURS]
        return replace(self, busy=neighbours, parts=parts, length_scaling=False)

    def identity(self, subject: Subject, contenders: Sequence[Contender]) -> dict[str, Any]:
        """What two runs have in common whose measurements belong together."""
        return {
            "model": subject.name,
            "systems": {c.system.label: c.digest for c in contenders},
            "batches": self.batches,
            "beams": self.beams,
            "rounds": self.rounds,
            "parts": self.parts,
            "length scaling": self.length_scaling,
            "busy neighbours": self.busy,
            "decoding": dict(self.decoding),
            "sentences": _digest(subject.workload),
            "versions": versions(),
            "processor": processor(),
        }


def _digest(workload: Workload) -> str:
    content = json.dumps([workload.pool, workload.mixed, workload.length])
    return hashlib.sha256(content.encode()).hexdigest()[:16]
