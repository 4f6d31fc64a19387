"""What a mutation says of itself, so that what comes of it can be judged."""

import enum
from dataclasses import dataclass


class Allowed(enum.Enum):
    """What a mutant may do besides being refused."""

    NOTHING = enum.auto()  # it is damaged, and must be refused
    THE_SAME = enum.auto()  # it contradicts itself, or nothing that matters was changed
    ANOTHER = enum.auto()  # it is a model folder, of another model


@dataclass(frozen=True)
class Mutation:
    """A change that was made to a folder.

    Attributes:
        kind: a few words, the same for all changes of the kind
        detail: what exactly was changed
        allowed: what may come of it
        may_be_slow: the graph may never end, or take much memory, once it is run
        links_outside: a link leads to a file outside, with the bytes that config.json wants
    """

    kind: str
    detail: str
    allowed: Allowed
    may_be_slow: bool = False
    links_outside: bool = False
