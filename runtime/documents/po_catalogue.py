"""Gettext catalogues taken apart: entries with their strings and places (GNU gettext manual,
"The Format of PO Files")."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_LINE = re.compile(r"[^\r\n]*+(?:\r\n?|\n)|[^\r\n]++")
_KEYWORD = re.compile(r"[ \t]*+(msgctxt|msgid_plural|msgid|msgstr(?:\[(\d{1,3})\])?)(?=[ \t\"])")
_STRINGS = re.compile(r'(?:[ \t]*+"(?:[^"\\\r\n]|\\[^\r\n])*+")++[ \t]*+(?=[\r\n]|\Z)')
_STRING = re.compile(r'"((?:[^"\\\r\n]|\\[^\r\n])*+)"')
_ESCAPE = re.compile(r"\\([0-7]{1,3}|x[0-9a-fA-F]{1,2}|.)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_SPELLINGS = {value: f"\\{letter}" for letter, value in _ESCAPES.items()} | {
    '"': '\\"',
    "\\": "\\\\",
}
_SPECIAL = re.compile('["\\\\\a\b\t\n\v\f\r]')
_WIDTH = 77


@dataclass(slots=True)
class Message:
    """A string of an entry.

    Attributes:
        name: msgctxt, msgid, msgid_plural, msgstr, or msgstr[N]
        begin, end: from its first quote to its last
        text: what it says
        lines: of the catalogue that it is written on
    """

    name: str
    begin: int
    end: int
    text: str
    lines: int = 1


@dataclass(slots=True)
class PoEntry:
    """A message and its translation, or the header, which translates "".

    Attributes:
        line: the number of its first line, from 1
        keyword_at: where its first line that is no comment begins
        flags_at: where the text behind "#," begins; None without flags
        flags: such as "fuzzy" and "c-format"
        prefix: what each line begins with, "#~ " for obsolete ones
        newline: how its lines end
        messages: by their names
        broken: it cannot be read as a whole
    """

    line: int
    keyword_at: int = -1
    flags_at: int | None = None
    flags: set[str] = field(default_factory=set)
    prefix: str = ""
    newline: str = "\n"
    messages: dict[str, Message] = field(default_factory=dict)
    broken: bool = False

    @property
    def translations(self) -> list[Message]:
        """Its msgstr, or all of its plural forms in their order."""
        found = [message for message in self.messages.values() if message.name.startswith("msgstr")]
        return sorted(found, key=lambda message: (len(message.name), message.name))


def read_catalogue(text: str, notes: list[str]) -> Iterator[PoEntry]:
    """The entries of a catalogue; lines that are none are added to notes, and the entries around
    them are `broken`."""
    entry = PoEntry(1)
    last: Message | None = None
    for number, found in enumerate(_LINE.finditer(text), 1):
        line = found.group().lstrip("\ufeff") if number == 1 else found.group()
        begin = found.end() - len(line)
        content = line.strip()
        prefix = ""
        if content.startswith("#~") and not content.startswith("#~|"):
            prefix = line[: line.index("#~") + 2]
            prefix += " " if line.startswith(f"{prefix} ") else ""
            content = line[len(prefix) :].strip()
        is_comment = content.startswith("#")
        keyword = None if is_comment else _KEYWORD.match(text, begin + len(prefix), found.end())
        name = keyword.group(1) if keyword else ""
        starts = not content or is_comment or name == "msgctxt" or name == "msgid"
        if starts and (entry.translations or entry.broken):
            yield entry
            entry, last = PoEntry(number), None
        if is_comment and content.startswith("#,"):
            entry.flags_at = begin + line.index("#,") + 2
            entry.flags |= {flag.strip() for flag in content[2:].split(",")}
        if is_comment or not content:
            continue
        if entry.keyword_at < 0:
            entry.keyword_at, entry.prefix, entry.line = begin, prefix, number
            entry.newline = line[len(line.rstrip("\r\n")) :] or "\n"
        at = keyword.end() if keyword else begin + len(prefix)
        strings = _STRINGS.match(text, at, found.end())
        if strings is None or (keyword is None and last is None) or name in entry.messages:
            if not entry.broken:
                notes.append(
                    f"line {number}: no line of a catalogue, the entry is left: {_short(content)}"
                )
            entry.broken = True
        elif keyword is not None:
            last = entry.messages[name] = Message(name, *_place(strings), _said(strings.group()))
        elif last is not None:
            last.end = _place(strings)[1]
            last.text += _said(strings.group())
            last.lines += 1
    yield entry


def spell(text: str, *, wrapped: bool, prefix: str, newline: str) -> str:
    """The strings that say a text, with quotes.

    Args:
        wrapped: in several lines if it is long or has several
        prefix: of each further line
        newline: at the end of each but the last
    """
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    if wrapped:
        lines = [part for line in lines for part in _parts(line)]
    written = ['"' + _escaped(line) + '"' for line in lines] or ['""']
    if len(written) == 1:
        return written[0]
    return f"{newline}{prefix}".join(['""', *written])


def _parts(line: str) -> Iterator[str]:
    """The parts of a line that fit in a line of the catalogue, cut after spaces."""
    part = ""
    for word in re.findall(r"\S*\s+|\S+", line):
        if part and len(part) + len(word) > _WIDTH:
            yield part
            part = ""
        part += word
    yield part


def _place(strings: re.Match[str]) -> tuple[int, int]:
    text = strings.group()
    begin = strings.start() + text.index('"')
    return begin, strings.start() + text.rindex('"') + 1


def _said(strings: str) -> str:
    raw = "".join(_STRING.findall(strings))
    return _ESCAPE.sub(_character, raw) if "\\" in raw else raw


def _character(escape: re.Match[str]) -> str:
    code = escape.group(1)
    if code[0] in "01234567":
        return chr(int(code, 8))
    if code[0] == "x" and len(code) > 1:
        return chr(int(code[1:], 16))
    return _ESCAPES.get(code, code)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: _SPELLINGS[found.group()], text)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
