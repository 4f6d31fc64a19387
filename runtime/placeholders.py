"""Parts of a text that a translation must keep as they are: where they are, and putting back those
that a translation lost.

What is kept is a multiset: every placeholder of the source comes once in the translation for each
time that it is in the source, and no other one is there. Numbers, codes and file names may be
added, because words may become digits and abbreviations. What a caller asks for by other means, a
prefix or a term, stays as it is.
"""

import difflib
import functools
import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .scripts import is_spaced_letter
from .terms import places_of_phrase

if TYPE_CHECKING:
    from .alignment import Alignment

# Chinese, Japanese, Thai and Korean go on after an address without a space.
_ATTACHED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef"
)
_IN_URL = rf"[^\s<>\"'“”{_ATTACHED}"
_EMOJI = (
    "[\U0001f1e6-\U0001f1ff]{2}"
    "|[0-9#*]\ufe0f?\u20e3"  # keys
    "|[\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]"
    "(?:\ufe0f|[\U0001f3fb-\U0001f3ff]|\u200d[\u2600-\u27bf\U0001f000-\U0001faff]"
    "|[\U000e0020-\U000e007f])*"  # flags of regions
)
_BROKEN = "\ufffd"  # what SentencePiece writes for bytes that are no whole character
_WORD = "A-Za-z0-9_"
_NAME = rf"[{_WORD}.-]*[{_WORD}-]"
# Without a folder before it a name needs a known ending: many write no space after a full stop.
_ENDINGS = (
    "txt|md|rst|pdf|docx?|xlsx?|pptx?|odt|csv|tsv|json|jsonl|xml|ya?ml|toml|ini|cfg|conf|log|html?|css"
    r"|jsx?|tsx?|py|ipynb|sh|bat|java|kt|rs|rb|php|sql|cpp|hpp|tex|so(?:\.\d+)*"
    "|dll|exe|apk|dmg|deb|iso|zip|tar|gz|bz2|xz"
    "|zst|rar|7z|png|jpe?g|gif|svg|webp|bmp|mp3|mp4|wav|flac|ogg|avi|mov|mkv|webm|onnx|com|org|net|edu"
    "|gov|io|cn"
)
_ROOT = r"(?:[A-Za-z]:\\|~/|\.\.?/)"
# By the names that users choose them by, in the order in which they are looked for.
KINDS = {
    "urls": rf"(?:(?:https?|ftp)://|www\.){_IN_URL}]*{_IN_URL})\].,;:!?]",
    "mails": rf"(?<![{_WORD}.%+-])[{_WORD}.%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{{2,}}",
    "tags": rf"</?[A-Za-z](?:[^<>\n\"'{_ATTACHED}]|\"[^<>\n\"]*\"|'[^<>\n']*')*>"
    r"|&(?:[A-Za-z]+|#\d+);",
    "braces": r"\$?\{\{[^{}\n]*\}\}|[$%#]?\{[^{}\n]*\}",
    "formats": r"%(?:\(\w+\))?[-+#0]*\d*(?:\.\d+)?[hlL]*[diouxXeEfFgGcrs@](?![A-Za-z])",
    "emoji": _EMOJI,
    "paths": rf"(?<![{_WORD}/.])(?:{_ROOT}(?:{_NAME}[/\\])*{_NAME}|(?:/{_NAME}){{2,}})"
    rf"|(?<![{_WORD}/.-])(?:(?:[{_WORD}-]+/)+[{_WORD}-]+(?:\.[{_WORD}-]+)*\.[a-z][a-z0-9]{{1,4}}"
    rf"|[{_WORD}-]+(?:\.[{_WORD}-]+)*\.(?:{_ENDINGS}))(?![{_WORD}])"
    rf"|(?<![^\s\"'“‘`(（])\.[a-z][a-z0-9_-]{{2,}}(?![{_WORD}.])",
    "mentions": rf"(?<![{_WORD}@#&/])[@#][A-Za-z][{_WORD}]*",
    "codes": r"(?<![A-Za-z0-9.-])(?:[A-Z]{1,5}-?\d[A-Z0-9]*(?:-[A-Z0-9]+)*|v\d+(?:\.\d+)+"
    r"|\d{1,3}(?:\.\d+){2,})(?![A-Za-z0-9])",
    # Names in programs: save(), obj.save(), getName, user_name; shorter ones are units: kWh.
    "identifiers": rf"(?<![{_WORD}.$-])(?:[A-Za-z_][{_WORD}]*(?:\.[A-Za-z_][{_WORD}]*)*\(\)"
    rf"|(?=[a-z]+[A-Z])[A-Za-z0-9]{{4,}}|[A-Za-z0-9]+(?:_[A-Za-z0-9]+)+)(?![{_WORD}])",
    "phones": r"(?<![A-Za-z\d.,:/+-])(?:\+(?=(?:[ -]?\d){9,15}(?![\d.,]\d))\d+(?:[ -]\d+)*"
    r"|(?!\d{4}-\d\d?-\d\d?(?!\d))(?=(?:-?\d){9,25}(?![\d.,]\d))\d+(?:-\d+)*"
    # In groups of three and four, with the area in brackets, or with hidden digits.
    r"|\d{3,4}(?:[ -]\d{3,4}){2,3}(?![ .,-]?\d)"
    r"|\(\d{3}\) ?\d{3}-\d{4}(?!\d)|\d{2,4}\*{3,8}\d{2,4}(?![\d*]))",
    "numbers": r"\d+(?:[.,:/-]\d+)*%?(?![月点時时\d])",
}
# Every placeholder of these kinds has one of them; most texts have none, which is quickly seen.
_HINT = re.compile(
    r"[@#<&{%/\\_\d\u20e3\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]|\(\)|[a-z][A-Z]"
)
_DOT_IN_WORD = re.compile(r"\.[a-z7]")
NUMBERS = "numbers"
# What no language changes; numbers may become words.
COPIED_KINDS = tuple(kind for kind in KINDS if kind != NUMBERS)
# What a translation may have and its source not: words become digits, and names abbreviations.
_ADDABLE = {"paths", "mentions", "codes", "identifiers", "phones", NUMBERS}


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A part of a text: what it says, its kind (a name of KINDS, or "pattern"), and its place."""

    text: str
    kind: str
    begin: int
    end: int

    def overlaps(self, other: "Placeholder") -> bool:
        """Whether both have a character in common."""
        return self.begin < other.end and other.begin < self.end


@dataclass(frozen=True, slots=True)
class AskedFor:
    """What a translation has because its caller wants it, not because of its source.

    Attributes:
        prefix: what it begins with
        phrases: what it must contain
    """

    prefix: str = ""
    phrases: tuple[str, ...] = ()

    def find(self, target: str) -> list[Placeholder]:
        """Where it stands in a translation, with the rest of a word that the prefix ends in."""
        found = [
            Placeholder(phrase, "phrase", begin, end)
            for phrase in self.phrases
            for begin, end in places_of_phrase(target, phrase)
        ]
        if self.prefix and target.startswith(self.prefix):
            _, end = _whole_words(target, 0, len(self.prefix))
            # From before the text, so that nothing is inserted before it.
            found.append(Placeholder(self.prefix, "prefix", -1, end))
        return found


_NOTHING = AskedFor()


class PlaceholderPatterns:
    """What counts as a placeholder.

    Example:
        >>> [p.text for p in PlaceholderPatterns().find("请访问 https://a.cn/x ，{name}。")]
        ['https://a.cn/x', '{name}']
    """

    def __init__(self, kinds: Collection[str] = tuple(KINDS), patterns: Iterable[str] = ()) -> None:
        """Placeholders of some kinds, and what regular expressions match.

        Args:
            kinds: names of KINDS
            patterns: Python's regular expressions; they go before the kinds

        Raises:
            ValueError: no such kind, or a pattern that is none or that matches nothing at all
        """
        for kind in kinds:
            if kind not in KINDS:
                raise ValueError(
                    f"there are no placeholders {kind!r}: the kinds are {', '.join(KINDS)}"
                )
        self._own = tuple(_checked(pattern) for pattern in patterns)
        self._kinds = tuple(kind for kind in KINDS if kind in kinds)

    @functools.cached_property
    def _patterns(self) -> list[tuple[str, re.Pattern[str]]]:
        """Compiled when they are first needed: most texts and programs need none of them."""
        own = [("pattern", pattern) for pattern in self._own]
        return own + [(kind, re.compile(KINDS[kind])) for kind in self._kinds]

    def with_texts(self, texts: Iterable[str]) -> "PlaceholderPatterns":
        """These, and before them texts that count wherever they stand."""
        longest_first = sorted(set(texts), key=lambda text: (-len(text), text))
        literal = ["|".join(map(re.escape, longest_first))] if longest_first else []
        own = [pattern.pattern for pattern in self._own]
        return PlaceholderPatterns(self._kinds, [*literal, *own])

    @functools.cached_property
    def digest(self) -> str:
        """What tells them from other patterns."""
        content = "\n".join(f"{kind}\t{pattern.pattern}" for kind, pattern in self._patterns)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def find(self, text: str) -> list[Placeholder]:
        """The placeholders of a text, in its order. None overlaps another: the one that begins
        first is taken, of two that begin together the one whose pattern comes first."""
        patterns = self._patterns
        if not _may_hold_any(text):
            if not self._own:
                return []
            patterns = patterns[: len(self._own)]
        matches = [
            (match.start(), order, match.end(), kind)
            for order, (kind, pattern) in enumerate(patterns)
            for match in pattern.finditer(text)
        ]
        found: list[Placeholder] = []
        for begin, _, end, kind in sorted(matches):
            if end > begin and (not found or begin >= found[-1].end):
                found.append(Placeholder(text[begin:end], kind, begin, end))
        return found

    def lacking(self, source: str, target: str) -> list[Placeholder]:
        """Placeholders of the source that its translation has not, or not as often."""
        return self._beyond(source, target)

    def added(self, source: str, target: str, asked_for: AskedFor = _NOTHING) -> list[Placeholder]:
        """Placeholders of the translation that the source has not, or not as often; numbers and
        the like aside, which words may become, and what the caller asked for."""
        beyond = self._beyond(target, source, asked_for.find(target))
        return [found for found in beyond if found.kind not in _ADDABLE]

    def _beyond(
        self, text: str, other: str, exempt: Sequence[Placeholder] = ()
    ) -> list[Placeholder]:
        """Placeholders of a text that another text has not, or not as often; the last of several
        equal ones. Those in `exempt` places of the text do not count."""
        left = Counter(found.text for found in self.find(other))
        beyond = []
        for placeholder in self.find(text):
            if any(placeholder.overlaps(own) for own in exempt):
                continue
            left[placeholder.text] -= 1
            if left[placeholder.text] < 0:
                beyond.append(placeholder)
        return beyond

    def are_kept(self, source: str, target: str, asked_for: AskedFor = _NOTHING) -> bool:
        """Whether nothing is lost and nothing is added, except for what a caller asked for."""
        if not self.find(source) and not self.find(target):
            return True
        return not self.lacking(source, target) and not self.added(source, target, asked_for)

    def restore(self, alignment: "Alignment", asked_for: AskedFor = _NOTHING) -> str:
        """The translation with all placeholders of its source, each as often as there.

        A lost one takes the place of what the translation has for it, where that looks like it, or
        else stands behind what comes from the text before it. Added ones are left out; what a
        caller asked for stays.
        """
        source, target = alignment.source, alignment.target
        own = asked_for.find(target)
        beyond = self._beyond(target, source, own)
        edits = [
            _Edit(found.begin, found.end, "") for found in beyond if found.kind not in _ADDABLE
        ]
        kept = [*own, *(found for found in self.find(target) if found not in beyond)]
        for placeholder in self.lacking(source, target):
            edit = _place(placeholder, alignment)
            free = not any(edit.overlaps(other.begin, other.end) for other in kept)
            # What was added may be what it should have been.
            edits = [other for other in edits if other.text or not edit.covers(other)]
            if not free or any(edit.overlaps(other.begin, other.end) for other in edits):
                edit = _Edit(edit.end, edit.end, placeholder.text)
                edit = _outside(edit, [*kept, *edits])
            edits.append(edit)
        restored = _applied(target, edits)
        if _BROKEN not in source:  # bytes of an emoji that the model began and did not finish
            restored = restored.replace(_BROKEN, "")
        for _ in range(len(restored) + 1):  # what edits made of their neighbours
            added = self.added(source, restored, asked_for)
            if not added:
                break
            restored = _applied(restored, [_Edit(added[-1].begin, added[-1].end, "")])
        for placeholder in self.lacking(source, restored):
            restored = f"{restored} {placeholder.text}".strip()
        return restored


# What comes out as it went in unless a caller says otherwise.
COPIED = PlaceholderPatterns(COPIED_KINDS)


def _may_hold_any(text: str) -> bool:
    return (
        _HINT.search(text) is not None
        or _DOT_IN_WORD.search(text) is not None
        or "www." in text  # the rest of which may be of another script
    )


def _checked(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"the pattern {pattern!r} cannot be used: {error}") from error
    if compiled.match("") is not None:
        raise ValueError(f"the pattern {pattern!r} matches the empty text")
    return compiled


@dataclass(frozen=True, slots=True)
class _Edit:
    """Characters of a text that become another text."""

    begin: int
    end: int
    text: str

    def overlaps(self, begin: int, end: int) -> bool:
        return self.begin < end and begin < self.end

    def covers(self, other: "_Edit") -> bool:
        return self.begin <= other.begin and other.end <= self.end


def _place(placeholder: Placeholder, alignment: "Alignment") -> _Edit:
    """Where a lost placeholder goes."""
    target = alignment.target
    begin, end = _whole_words(target, *alignment.target_of(placeholder.begin, placeholder.end))
    while begin < end and not target[begin].isalnum() and target[begin] != placeholder.text[0]:
        begin += 1
    while begin < end and not target[end - 1].isalnum() and target[end - 1] != placeholder.text[-1]:
        end -= 1
    written = target[begin:end]
    alike = difflib.SequenceMatcher(None, written.lower(), placeholder.text.lower()).ratio() > 0.4
    if begin < end and (alike or not any(char.isalpha() for char in written)):
        return _Edit(begin, end, placeholder.text)
    if begin < end:
        return _Edit(end, end, placeholder.text)
    before = [
        alignment.target_spans[written][1]
        for read, written in alignment.pairs
        if alignment.source_spans[read][1] <= placeholder.begin
    ]
    at = _whole_words(target, 0, max(before))[1] if before else 0
    return _Edit(at, at, placeholder.text)


def _whole_words(text: str, begin: int, end: int) -> tuple[int, int]:
    """The same part, and the rest of the words at its ends; without spaces around it."""
    while begin < end and text[begin].isspace():
        begin += 1
    while begin < end and text[end - 1].isspace():
        end -= 1
    if begin == end:
        return begin, end
    while begin and is_spaced_letter(text[begin - 1]) and is_spaced_letter(text[begin]):
        begin -= 1
    while end < len(text) and is_spaced_letter(text[end]) and is_spaced_letter(text[end - 1]):
        end += 1
    return begin, end


def _outside(edit: _Edit, others: Sequence["Placeholder | _Edit"]) -> _Edit:
    """An insertion that stands in none of the others."""
    at = edit.begin
    for other in sorted(others, key=lambda other: other.begin):
        if other.begin < at < other.end:
            at = other.end
    return _Edit(at, at, edit.text)


def _applied(text: str, edits: Iterable[_Edit]) -> str:
    """The text with all edits, and with spaces where words would touch or gaps would be left."""
    pieces: list[tuple[str, bool]] = []  # and whether it is inserted
    at = 0
    for edit in sorted(edits, key=lambda edit: (edit.begin, edit.end)):
        pieces += [(text[at : edit.begin], False), (edit.text, edit.begin == edit.end)]
        at = edit.end
    pieces.append((text[at:], False))
    joined, before = "", False
    for piece, inserted in pieces:
        if not piece:
            continue
        letters = [is_spaced_letter(char) for char in joined[-1:] + piece[0]]
        spaced = joined[-1:].isspace() or piece[0].isspace()
        if joined and not spaced and (all(letters) or ((inserted or before) and any(letters))):
            joined += " "
        elif joined[-1:].isspace() and piece[0].isspace():
            piece = piece.lstrip()
        joined, before = joined + piece, inserted
    return joined.strip()
