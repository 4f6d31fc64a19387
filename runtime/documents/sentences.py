"""Where sentences end, by rules for scripts without and with spaces between words.

The same rules are in web/assets/sentences.js; tests/runtime/documents/sentences.json holds both to
the same answers, so change them together.

Boundaries are:

- line breaks and tabs, always;
- 。！？… and ； with the quotes and brackets that they close, unless a comma follows;
- ! and ? before a space or an ideograph, unless the sentence goes on in small letters;
- a full stop before a space, unless the sentence goes on in small letters or the stop belongs to a
  title, an initial, an acronym, a number that counts lines, or the like; and between ideographs;
- never within an address, such as https://example.org/?q=a;
- in a sentence of more than MAX_UNITS: the last comma or the like before that, else the last
  space, else a character.
"""

import re
from collections.abc import Iterator

from tfm.runtime.scripts import is_unspaced_letter

# A unit is a letter of a script without spaces, or four other characters: about a token.
MAX_UNITS = 120
_NARROW = 0.25

Span = tuple[int, int]

_LINE = re.compile(r"[^\n\r\t\v\f\x1c-\x1e\x85\u2028\u2029]+")
# What begins an item or a heading stays as it is: "- ", "## ", "> ", "2. ", "(a) ".
_MARKER = re.compile(r"\s*(?:(?:[-*+•·>#]+|\d{1,3}[.)]|\([0-9a-z]{1,3}\))\s+)*")
_CLOSING = "”’」』）》】〉］｝｣\"')\\]}"
_STOPS = re.compile(rf"[。｡！？!?….．；]+[{_CLOSING}]*")
_WIDE = re.compile("[。｡！？…．；]")
_GOES_ON = re.compile(r"[，、,：:;；。！？]")
_ADDRESS = re.compile(
    r"(?:[a-zA-Z][a-zA-Z0-9+.-]{0,30}://|www\.)[^\s\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]+"
)
_OPENING = re.compile(r"[“‘「『（《【〈［｛\"'(\[{]*")
_WORD_BEFORE = re.compile(r"[^\s“‘「『（《【〈\"'(\[{—–-]*$")
_LONGEST_WORD = 40  # that could be an abbreviation
_ACRONYM = re.compile(r"(?:[A-Z]\.)*[A-Z]")
_TITLE = re.compile(
    r"(?:mr|mrs|ms|mx|dr|prof|st|sgt|capt|cpt|lt|col|maj|gen|rep|sen|gov|rev|hon|pres|mt|messrs"
    r"|mme|mlle|sr|jr|ph\.d|e\.g|i\.e|vs|cf|viz|al|approx)",
    re.IGNORECASE,
)
_BEFORE_NUMBER = re.compile(
    r"(?:nos?|figs?|vol|ch|chap|sec|eq|pp?|art|ca?|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[，、,;；：:]+[”’」』）》】\"')\]]*|(?<=\s)[-–]+(?=\s)|[—–]+")


def split_sentences(text: str) -> list[Span]:
    """The sentences of a text: where each begins and ends, in characters, without the spaces, line
    breaks and markers of list items between them. What has no letter in it is none."""
    return [
        part
        for line in _LINE.finditer(text)
        for sentence in _sentences(text, *line.span())
        for part in _short_enough(text, *sentence)
        if any(map(str.isalpha, text[part[0] : part[1]]))
    ]


def is_cut(text: str, end: int, begin: int) -> bool:
    """Whether two parts of a text, to `end` and from `begin` on, are of a sentence that was
    too long: between them is no line break and no stop."""
    if _LINE.fullmatch(text, end, begin) is None and end < begin:
        return False
    before = max(0, end - 8)
    return all(found.end() < end for found in _STOPS.finditer(text, before, end))


def _sentences(text: str, begin: int, end: int) -> Iterator[Span]:
    marker = _MARKER.match(text, begin, end)
    begin = marker.end() if marker else begin
    addresses = _ADDRESS.finditer(text, begin, end)
    address = next(addresses, None)
    position = counted = begin
    quotes = 0  # straight ones of this sentence, up to `counted`
    while (stops := _STOPS.search(text, position, end)) is not None:
        start, position = stops.span()
        while address is not None and address.end() <= start:
            address = next(addresses, None)
        if address is not None and address.start() <= start and position < address.end():
            continue
        quotes += text.count('"', counted, start)
        counted = start
        stop = _end_of_closing(text, quotes, start, position)
        if _is_end(text, begin, start, stop, end):
            yield _stripped(text, begin, stop)
            begin = position = counted = stop
            quotes = 0
    begin, end = _stripped(text, begin, end)
    if begin < end:
        yield begin, end


def _end_of_closing(text: str, quotes: int, start: int, stop: int) -> int:
    """Where the stops end with what they close: a straight quote that follows an even number of
    others opens the next sentence."""
    for position in range(start, stop):
        if text[position] == '"':
            if quotes % 2 == 0:
                return position
            quotes += 1
    return stop


def _is_end(text: str, begin: int, start: int, stop: int, end: int) -> bool:
    """Whether text[start:stop], stops and what they close, end the sentence that begins there."""
    if stop >= end:
        return True
    following = text[stop]
    stops = text[start:stop]
    if _GOES_ON.match(following) or _skip_spaces(text, begin, start) == start:
        return False
    if _WIDE.search(stops):
        return True
    if is_unspaced_letter(following):
        return not stops.startswith(".") or is_unspaced_letter(text[start - 1])
    if not following.isspace():
        return stops[-1] == '"' and _OPENING.fullmatch(following) is not None
    opening = _OPENING.match(text, _skip_spaces(text, stop, end), end)
    position = opening.end() if opening else stop
    next_char = text[position : position + 1]
    if next_char.islower():
        return False
    return stops != "." or not _is_abbreviation(text, begin, start, next_char)


def _is_abbreviation(text: str, begin: int, dot: int, next_char: str) -> bool:
    """Whether the full stop belongs to the word before it, rather than to the sentence."""
    found = _WORD_BEFORE.search(text, max(begin, dot - _LONGEST_WORD), dot)
    word = found.group() if found else ""
    if found and word.isdigit() and _skip_spaces(text, begin, dot) == found.start():
        return True  # the number of a line
    if _TITLE.fullmatch(word):
        return True
    if next_char.isdigit() and _BEFORE_NUMBER.fullmatch(word):
        return True
    return word != "I" and _ACRONYM.fullmatch(word) is not None


def _short_enough(text: str, begin: int, end: int) -> Iterator[Span]:
    """The sentence, or its parts if it is too long."""
    while (limit := _within_limit(text, begin, end)) < end:
        half = begin + (limit - begin) // 2  # a part of a few characters helps nobody
        clauses = [match.end() for match in _CLAUSE.finditer(text, half, limit)]
        spaces = [at for at in range(half, limit) if text[at].isspace()]
        cut = clauses[-1] if clauses else spaces[-1] if spaces else limit
        yield _stripped(text, begin, cut)
        begin = _skip_spaces(text, cut, end)
    if begin < end:
        yield begin, end


def _within_limit(text: str, begin: int, end: int) -> int:
    """Where MAX_UNITS are full, or the end."""
    units = 0.0
    for position in range(begin, end):
        units += 1 if is_unspaced_letter(text[position]) else _NARROW
        if units > MAX_UNITS:
            return position
    return end


def _stripped(text: str, begin: int, end: int) -> Span:
    begin = _skip_spaces(text, begin, end)
    while begin < end and text[end - 1].isspace():
        end -= 1
    return begin, end


def _skip_spaces(text: str, begin: int, end: int) -> int:
    while begin < end and text[begin].isspace():
        begin += 1
    return begin
