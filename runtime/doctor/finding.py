"""What was found out about one part of an installation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How bad it is: with a problem tfm cannot translate, with a warning it can."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        check: what was looked at, such as "onnxruntime"
        level: how bad it is
        message: what was found, in one line
        advice: what to do about it; empty where there is nothing to do
        facts: the same for programs, as JSON can have it
    """

    check: str
    level: Level
    message: str
    advice: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def ok(check: str, message: str, **facts: Any) -> Finding:
    """A finding that asks for nothing."""
    return Finding(check, Level.OK, message, facts=facts)


def warning(check: str, message: str, advice: str, **facts: Any) -> Finding:
    """A finding that does not keep tfm from translating."""
    return Finding(check, Level.WARNING, message, advice, facts)


def problem(check: str, message: str, advice: str = "", **facts: Any) -> Finding:
    """A finding that keeps tfm from translating."""
    return Finding(check, Level.PROBLEM, message, advice, facts)
