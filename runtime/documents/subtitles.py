"""Subtitles, SubRip (.srt) and WebVTT (.vtt): numbers, times, settings and notes stay, and what is
said is translated.

A sentence over several cues is translated as a whole; its translation is shared out by how long
each cue shows how much of it, at spaces or commas. A cue's lines are broken anew, with at most
`line_length` columns where words allow (an ideograph has two). Tags and speakers' dashes around a
cue stay; a cue with tags inside is translated on its own, and its lines are not broken.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tfm.runtime.scripts import is_spaced

from .document import AlignedText, Segment, Split, check_count
from .inline_markup import Block, MarkedSentence
from .line_breaks import break_lines, share_out
from .sentences import split_sentences

LINE_LENGTH = 42  # columns: what broadcasters commonly allow
_LONGEST_GAP = 2.0  # seconds between cues of one sentence
_MOST_CUES = 4  # of one sentence

_TIME = r"(?:\d+:)?\d{1,2}:\d{1,2}[,.]\d{1,3}"
_TIMING = re.compile(rf"^[ \t]*({_TIME})[ \t]*-->[ \t]*({_TIME})[^\n]*$", re.MULTILINE)
_LOOKS_TIMED = re.compile(r"^[^\n]*-->[^\n]*$", re.MULTILINE)
_BLANK = re.compile(r"\n[ \t\r]*(?=\n|\Z)")
_NUMBER = re.compile(r"\r?\n[ \t]*\d+[ \t]*\r?\n\Z")
_TAG = r"(?:</?[a-zA-Z0-9][^<>\n]*>|\{\\[^{}\n]*\})"
_DASHES = "-–—"
_DASH = rf"[{_DASHES}](?:\s|(?=[^\W\d_]))"  # of a speaker, not of a number
_AROUND = re.compile(
    rf"(?P<before>(?:\s|{_TAG}|{_DASH}|[♪♫#]\s)*)(?P<text>.*?)(?P<after>(?:\s|{_TAG}|[♪♫#])*)",
    re.DOTALL,
)
_INSIDE = re.compile(_TAG)
_FINAL = re.compile(r"[。！？!?….；;:：♪)\]）】][”’」』\"']*\Z")


@dataclass(frozen=True, slots=True)
class _Cue:
    """What is shown at a time: its text at [begin, end), without what is around it, such as a
    speaker's dash."""

    begin: int
    end: int
    text: str
    seconds: tuple[float, float]
    dash: str


@dataclass(frozen=True, slots=True)
class _Share:
    """The part [begin, end) of a cue's text that belongs to a sentence."""

    cue: int
    begin: int
    end: int


# A sentence, the cues that show it, and itself with its markup if there is some within.
_Found = tuple[Segment, tuple[_Share, ...], MarkedSentence | None]


@dataclass(frozen=True, slots=True)
class SubtitleDocument:
    """Subtitles whose sentences were found.

    Attributes:
        text: the whole file
        segments: its sentences
        notes: what could not be read, with its line
        spaced: the target language has spaces between words
    """

    text: str
    segments: tuple[Segment, ...]
    notes: tuple[str, ...]
    spaced: bool
    _line_length: int
    _cues: Sequence[_Cue] = field(repr=False)
    _shares: Sequence[tuple[_Share, ...]] = field(repr=False)  # of each sentence
    _marked: Sequence[MarkedSentence | None] = field(repr=False)  # each sentence with tags inside

    def assemble(self, translations: Sequence[AlignedText], *, bilingual: bool = False) -> str:
        """See `Document.assemble`.

        Args:
            bilingual: every cue has both languages, the source first
        """
        check_count(self.segments, translations)
        said: list[list[tuple[_Share, str]]] = [[] for _ in self._cues]
        changed = [False] * len(self._cues)
        for segment, translation, shares, marked in zip(
            self.segments, translations, self._shares, self._marked, strict=True
        ):
            for share in shares:
                changed[share.cue] |= translation.text != segment.text
            texts = share_out(translation.text, [self._weight(share) for share in shares])
            if marked is not None:
                texts = [marked.render(translation, str, self._part)]
            for share, piece in zip(shares, texts, strict=True):
                said[share.cue].append((share, piece))
        parts: list[str] = []
        position = 0
        for cue, pieces, is_changed in zip(self._cues, said, changed, strict=True):
            parts.append(self.text[position : cue.begin])
            position = cue.end
            said_now = self._broken(cue, self._put_together(cue, pieces)) if is_changed else ""
            both = bilingual and is_changed
            below = f"{self._line_end}{cue.dash}{said_now}"
            parts.append(f"{cue.text}{below}" if both else said_now or cue.text)
        return "".join([*parts, self.text[position:]])

    @property
    def _line_end(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"

    def _part(self, begin: int, end: int) -> str:
        return self.text[begin:end]

    def _weight(self, share: _Share) -> float:
        """Seconds that a part of a cue has."""
        cue = self._cues[share.cue]
        first, last = cue.seconds
        return max(0.001, last - first) * (share.end - share.begin) / max(1, len(cue.text))

    def _put_together(self, cue: _Cue, pieces: Sequence[tuple[_Share, str]]) -> str:
        """The sentences of a cue, with what is between them: a new speaker's line stays one."""
        text, position = "", 0
        for share, piece in pieces:
            between = cue.text[position : share.begin]
            is_new_speaker = "\n" in between and cue.text[share.begin] in _DASHES
            if between.strip():
                between = _spaced(between) if self.spaced else between
            elif not is_new_speaker:
                between = " " if text and self.spaced else ""
            text += between + piece
            position = share.end
        return text + cue.text[position:].rstrip()

    def _broken(self, cue: _Cue, text: str) -> str:
        if _INSIDE.search(cue.text):
            return text
        parts = (break_lines(part.strip(), self._line_length) for part in text.split("\n"))
        return self._line_end.join(line for lines in parts for line in lines)


def parse_subtitles(
    text: str,
    source: str,
    target: str,
    *,
    split: Split = split_sentences,
    line_length: int = LINE_LENGTH,
) -> SubtitleDocument:
    """The sentences of subtitles, SubRip or WebVTT.

    Args:
        source, target: languages, such as "zh" and "en"
        split: finds the sentences: where each begins and ends
        line_length: columns of a line of the translation
    """
    cues, notes = _read(text)
    between = " " if is_spaced(source) else ""
    punctuated = 2 * sum(1 for cue in cues if _FINAL.search(cue.text)) >= len(cues)
    found: list[_Found] = []
    for first, last in _groups(cues, punctuated):
        if _INSIDE.search(cues[first].text):
            found += _with_tags(cues[first], first, split)
        else:
            found += _without_tags(cues, first, last, between, split)
    return SubtitleDocument(
        text,
        tuple(segment for segment, _, _ in found),
        tuple(notes),
        is_spaced(target),
        line_length,
        cues,
        [shares for _, shares, _ in found],
        [marked for _, _, marked in found],
    )


def _without_tags(
    cues: Sequence[_Cue], first: int, last: int, between: str, split: Split
) -> Iterator[_Found]:
    joined, places = _join(cues, first, last, between)
    for begin, end in split(joined):
        shares = _shares_of(places[begin:end])
        whole = (
            cues[shares[0].cue].begin + shares[0].begin,
            cues[shares[-1].cue].begin + shares[-1].end,
        )
        yield Segment(re.sub(r"\s+", " ", joined[begin:end]), *whole), shares, None


def _spaced(between: str) -> str:
    """Tags, and text without letters, between two sentences of a language with spaces."""
    if re.search(r"\s", between):
        return between
    closing = re.match(r"(?:</[^<>]*>)*", between)
    at = closing.end() if closing else 0
    behind = " " if _INSIDE.sub("", between[at:]) else ""
    return f"{between[:at]} {between[at:]}{behind}"


def _with_tags(cue: _Cue, number: int, split: Split) -> Iterator[_Found]:
    block = Block()
    position = cue.begin
    for tag in _INSIDE.finditer(cue.text):
        begin, end = tag.start() + cue.begin, tag.end() + cue.begin
        block.add_text(cue.text[position - cue.begin : tag.start()], position, begin)
        name = re.match(r"</?(\w+)", tag.group())
        if name is None or name[1].isdigit():
            block.add_kept("", begin, end)
        elif tag.group().startswith("</"):
            block.add_close(name[1], begin, end)
        else:
            block.add_open(name[1], begin, end)
        position = end
    block.add_text(cue.text[position - cue.begin :], position, cue.end)
    for sentence in block.sentences(split):
        share = _Share(number, sentence.begin - cue.begin, sentence.end - cue.begin)
        segment = Segment(sentence.text, sentence.begin, sentence.end, bool(sentence.items))
        yield segment, (share,), sentence


def _read(text: str) -> tuple[list[_Cue], list[str]]:
    """The cues, and what looks like one and is none."""
    timings = list(_TIMING.finditer(text))
    cues = []
    looks_timed = list(_LOOKS_TIMED.finditer(text))
    ends = [*(found.start() for found in looks_timed), len(text)]
    for timing in timings:
        begin = min(timing.end() + 1, len(text))
        end = ends[bisect_right(ends, timing.start(), hi=len(ends) - 1)]
        # Without a blank line the next cue's number ends this one.
        number = _NUMBER.search(text, timing.end(), end) if end < len(text) else None
        blank = _BLANK.search(text, timing.end(), end)
        end = min([end, *(found.start() for found in (number, blank) if found)])
        if begin >= end:
            continue
        around = _AROUND.fullmatch(text, begin, end)
        if around is None:
            continue
        first, last = around.span("text")
        if first < last:
            seconds = _seconds(timing.group(1)), _seconds(timing.group(2))
            dash = re.search(_DASH, around["before"] + text[first])
            cues.append(_Cue(first, last, text[first:last], seconds, dash.group() if dash else ""))
    good = {timing.start() for timing in timings}
    notes = [
        f"line {text.count(chr(10), 0, found.start()) + 1}: no time of a subtitle, left as it is:"
        f" {found.group().strip()[:60]}"
        for found in looks_timed
        if found.start() not in good
    ]
    return cues, notes


def _seconds(time: str) -> float:
    *hours, minutes, seconds = time.replace(",", ".").split(":")
    return 3600 * float(hours[0] if hours else 0) + 60 * float(minutes) + float(seconds)


def _groups(cues: Sequence[_Cue], punctuated: bool) -> Iterator[tuple[int, int]]:
    """Cues whose sentences go on from one to the next, as [first, last)."""
    first = 0
    for number, cue in enumerate(cues):
        following = cues[number + 1] if number + 1 < len(cues) else None
        if (
            following is None
            or number + 1 - first >= _MOST_CUES
            or not _goes_on(cue, following, punctuated)
        ):
            yield first, number + 1
            first = number + 1


def _goes_on(cue: _Cue, following: _Cue, punctuated: bool) -> bool:
    """Whether a sentence goes on in the next cue: it ends with a comma, or with nothing where most
    cues have their full stop, or the next one begins in small letters."""
    if following.seconds[0] - cue.seconds[1] > _LONGEST_GAP or _FINAL.search(cue.text):
        return False
    if _INSIDE.search(cue.text) or _INSIDE.search(following.text):
        return False  # tags stay with their cue
    return punctuated or cue.text[-1] in "，、,—" or following.text[0].islower()


def _join(
    cues: Sequence[_Cue], first: int, last: int, between: str
) -> tuple[str, list[tuple[int, int]]]:
    """The texts of cues as one, and where each character comes from: cue, and place in its text.
    Lines of one speaker are joined; a line that begins with a dash is another's."""
    joined: list[str] = []
    places: list[tuple[int, int]] = []
    for number in range(first, last):
        text = cues[number].text
        if joined:
            joined += between
            places += [places[-1]] * len(between)
        position = 0
        for line in re.finditer(r"\r?\n\s*(?P<dash>[-–—])?", text):
            joined += text[position : line.start()]
            places += [(number, at) for at in range(position, line.start())]
            position = line.start("dash") if line["dash"] else line.end()
            separator = "\n" if line["dash"] else between
            joined += separator
            places += [(number, line.start())] * len(separator)
        joined += text[position:]
        places += [(number, at) for at in range(position, len(text))]
    return "".join(joined), places


def _shares_of(places: Sequence[tuple[int, int]]) -> tuple[_Share, ...]:
    shares: list[_Share] = []
    for number in sorted({cue for cue, _ in places}):
        own = [at for cue, at in places if cue == number]
        shares.append(_Share(number, min(own), max(own) + 1))
    return tuple(shares)
