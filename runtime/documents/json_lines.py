"""JSON lines: the texts under some keys, and every other byte as it was."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from .document import Split
from .embedded import Edit, EmbeddedDocument, EmbeddedText, Entry, edited
from .plain_text import parse_text
from .sentences import split_sentences
from .tables import lines_of

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[{}\[\],]')
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_LETTER = re.compile(r"(?<!\\)(?:\\\\)*+\\u(?!00[0-7])")


def parse_jsonl(
    text: str,
    source: str,
    target: str,
    *,
    keys: Sequence[str],
    into: Sequence[str] = (),
    split: Split = split_sentences,
) -> EmbeddedDocument:
    """The sentences under some keys of objects, one on each line.

    Args:
        source, target: languages, such as "zh" and "en"
        keys: each a key of the object, or of objects in it with dots between: "translation.zh".
            What they name is a text or a list of texts; lists in between are gone through
        into: names of new keys for the translations, each behind its own; () writes in place
        split: finds the sentences of a text

    Raises:
        ValueError: no keys, or into names more or fewer
    """
    wanted = _wanted(keys, into)
    entries: list[Entry] = []
    notes: list[str] = []
    offset = 0
    for number, line in enumerate(lines_of(text), 1):
        record = _JsonLine(line, number, wanted)
        entries += record.entries((source, target), split, offset)
        notes += record.notes
        offset += len(line)
    return EmbeddedDocument(text, entries, notes)


def iterate_jsonl(
    lines: Iterable[str],
    source: str,
    target: str,
    *,
    keys: Sequence[str],
    into: Sequence[str] = (),
    split: Split = split_sentences,
) -> Iterator[EmbeddedDocument]:
    """The lines of a file of any size, one by one.

    Args:
        lines: with their ends, as a file that was opened with newline="" gives them

    The other arguments and the errors are those of parse_jsonl.
    """
    wanted = _wanted(keys, into)
    for number, line in enumerate(lines, 1):
        record = _JsonLine(line, number, wanted)
        entries = record.entries((source, target), split, 0)
        yield EmbeddedDocument(line, entries, record.notes, first_line=number)


def _wanted(keys: Sequence[str], into: Sequence[str]) -> dict[str, str]:
    """Each key with the new one, "" for none."""
    if not keys:
        raise ValueError("no key to translate is named")
    if into and len(into) != len(keys):
        raise ValueError(
            f"{len(keys)} keys to translate into {len(into)} new ones: name as many of them"
        )
    return dict(zip(keys, into or [""] * len(keys), strict=True))


@dataclass(slots=True)
class _Container:
    """An object or a list that is open.

    Attributes:
        path: keys that lead to what it holds, with dots between
        key_end: where the last key of an object ends
        keys: all so far
        value: what is collected of a wanted key's list
    """

    is_object: bool
    path: str
    wants_key: bool
    key_end: int = 0
    keys: set[str] = field(default_factory=set)
    value: "_Value | None" = None


@dataclass(slots=True)
class _Value:
    """What a wanted key has: a text or a list of texts at [begin, end), each with its place."""

    path: str
    begin: int
    end: int
    gap: str  # between the key and it
    keys: set[str]  # of the object that it is in
    strings: list[tuple[int, int]]


class _JsonLine:
    """A line with an object."""

    def __init__(self, line: str, number: int, wanted: dict[str, str]) -> None:
        self.notes: list[str] = []
        self._line, self._number, self._wanted = line, number, wanted

    def entries(self, languages: tuple[str, str], split: Split, offset: int) -> list[Entry]:
        """The texts of the line, which stands at an offset of the whole text."""
        content = self._line.lstrip("\ufeff")
        if not content.strip():
            return []
        try:
            parsed = json.loads(content)
        except RecursionError:
            self._note("the objects in it are nested too deeply: left as it is")
            return []
        except ValueError as error:
            self._note(f"no JSON ({error}): left as it is")
            return []
        if not isinstance(parsed, dict):
            self._note("no object with keys: left as it is")
            return []
        values = list(_values(self._line, self._wanted))
        for key in self._wanted:
            if not any(value.path == key for value in values):
                self._note(f"no text under the key {key!r}")
        entries = [self._entry(value, languages, split, offset) for value in values]
        return [entry for entry in entries if entry is not None]

    def _note(self, problem: str) -> None:
        self.notes.append(f"line {self._number}: {problem}")

    def _entry(
        self, value: _Value, languages: tuple[str, str], split: Split, offset: int
    ) -> Entry | None:
        new_key = self._wanted[value.path]
        if new_key and new_key in value.keys:
            self._note(f"there is a key {new_key!r} already: name another new one")
            return None
        line = self._line
        originals = [json.loads(line[begin:end]) for begin, end in value.strings]
        if any(map(_SURROGATE.search, originals)):
            self._note(f"the text under {value.path!r} has half a character: left as it is")
            return None
        ascii_only = line.isascii() and _ESCAPED_LETTER.search(line) is not None
        texts = [
            EmbeddedText(
                parse_text(original, *languages, split=split), offset + begin + 1, offset + end - 1
            )
            for original, (begin, end) in zip(originals, value.strings, strict=True)
        ]

        def changes(said: Sequence[str]) -> list[Edit]:
            return [
                (begin, end, json.dumps(text, ensure_ascii=ascii_only))
                for text, original, (begin, end) in zip(said, originals, value.strings, strict=True)
                if text != original
            ]

        def in_place(said: Sequence[str]) -> tuple[list[Edit], str]:
            return [(offset + begin, offset + end, text) for begin, end, text in changes(said)], ""

        def behind(said: Sequence[str]) -> tuple[list[Edit], str]:
            own = [
                (begin - value.begin, end - value.begin, text) for begin, end, text in changes(said)
            ]
            copied = edited(line[value.begin : value.end], own)
            comma = ", " if value.gap.endswith(" ") else ","
            name = json.dumps(new_key, ensure_ascii=ascii_only)
            at = offset + value.end
            return [(at, at, f"{comma}{name}{value.gap}{copied}")], ""

        return Entry(texts, behind if new_key else in_place)


def _values(line: str, wanted: dict[str, str]) -> Iterator[_Value]:
    """What the wanted keys of an object have, as it ends; the line is JSON."""
    stack: list[_Container] = []
    for token in _TOKEN.finditer(line):
        kind = token.group()[0]
        top = stack[-1] if stack else None
        if kind == ",":
            assert top is not None
            top.wants_key = top.is_object
        elif kind in "}]":
            closed = stack.pop()
            if closed.value is not None and stack[-1].is_object:
                closed.value.end = token.end()
                yield closed.value
        elif kind == '"' and top is not None and top.wants_key:
            key = str(json.loads(token.group()))
            top.keys.add(key)
            above = stack[-2].path if len(stack) > 1 else ""
            top.path = f"{above}.{key}" if above else key
            top.key_end, top.wants_key = token.end(), False
        else:
            value = None
            if top is not None and not top.is_object:
                value = top.value
            elif top is not None and top.path in wanted and kind != "{":
                gap = line[top.key_end : token.start()]
                value = _Value(top.path, token.start(), token.end(), gap, top.keys, [])
            if kind == '"':
                if value is not None:
                    value.strings.append(token.span())
                if value is not None and top is not None and top.is_object:
                    yield value
            else:
                path = top.path if top is not None else ""
                is_object = kind == "{"
                inside = None if is_object else value
                stack.append(_Container(is_object, path, is_object, value=inside))
