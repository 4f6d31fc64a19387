"""What a paragraph's markup must keep: its elements, their nesting, and the order of ranges."""

from collections import Counter
from dataclasses import dataclass, field

from .html_tokens import Kind, tokenize
from .xml_text import attributes_of, local_name

# Runs are written anew, and what is noted of the last layout is not.
_WRITTEN_ANEW = frozenset({"r", "t", "rPr", "noBreakHyphen", "proofErr", "lastRenderedPageBreak"})


@dataclass(slots=True)
class Shape:
    """The markup of a paragraph, runs aside.

    Attributes:
        tags: how often each is there
        is_nested: each element ends within the one that it begins in
        fields: how many more fields have ended than begun, at most, and how many at the end
        reversed: ranges that end before they begin
    """

    tags: Counter[str] = field(default_factory=Counter)
    is_nested: bool = True
    fields: tuple[int, int] = (0, 0)
    reversed: set[str] = field(default_factory=set)


def shape_of(xml: str) -> Shape:
    """The markup of a paragraph's content."""
    shape = Shape()
    names: list[str] = []
    ended: set[str] = set()
    properties = depth = lowest = 0
    for token in tokenize(xml, xml=True):
        name = local_name(token.name)
        if token.kind is Kind.OPEN:
            names.append(token.name)
            properties += name == "rPr"
        elif token.kind is Kind.CLOSE:
            shape.is_nested &= bool(names) and names.pop() == token.name
        if token.kind is not Kind.TEXT and not properties and name not in _WRITTEN_ANEW:
            tag = xml[token.begin : token.end]
            shape.tags[tag] += 1
            if name == "fldChar" and token.kind is not Kind.CLOSE:
                kind = "end" if '"end"' in tag else "begin" if '"begin"' in tag else ""
                depth += {"begin": 1, "end": -1}.get(kind, 0)
                lowest = min(lowest, depth)
            elif name.endswith(("Start", "End")) and token.kind is not Kind.CLOSE:
                key = f"{name.removesuffix('Start').removesuffix('End')} {_identity(tag)}"
                if name.endswith("End"):
                    ended.add(key)
                elif key in ended:
                    shape.reversed.add(key)
        if token.kind is Kind.CLOSE:
            properties -= name == "rPr"
    shape.is_nested &= not names
    shape.fields = lowest, depth
    return shape


def _identity(tag: str) -> str:
    found = (value for name, value in attributes_of(tag).items() if local_name(name) == "id")
    return next(found, "")
