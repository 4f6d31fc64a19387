"""Gettext catalogues: what is not translated yet gets a translation, and all else stays.

The source is the msgid. A translation equal to it is not written: without one, gettext takes the
msgid. Translations are flagged as fuzzy, because nobody has checked them; msgfmt leaves out fuzzy
ones unless --use-fuzzy is given.
"""

import re
from collections.abc import Callable, Sequence

from .accelerators import Accelerator, marks_of, take_accelerator
from .document import Split
from .embedded import Edit, EmbeddedDocument, EmbeddedText, Entry
from .message_placeholders import placeholders_of, what_is_lost
from .plain_text import TextDocument, parse_text
from .po_catalogue import Message, PoEntry, read_catalogue, spell
from .sentences import split_sentences

_PLURALS = re.compile(r"^Plural-Forms:.*\bnplurals\s*=\s*(\d{1,2})", re.IGNORECASE | re.MULTILINE)
_ONE_FORM = frozenset({"zh", "ja", "ko", "vi", "th", "id", "ms", "lo", "my", "km", "bo", "yue"})


def parse_po(
    text: str,
    source: str,
    target: str,
    *,
    fuzzy: bool = False,
    obsolete: bool = False,
    flag: bool = True,
    split: Split = split_sentences,
) -> EmbeddedDocument:
    """The sentences of a catalogue that are not translated.

    Args:
        source, target: languages, such as "en" and "zh"
        fuzzy: those too that have a translation which nobody has checked
        obsolete: those too that the program has no more
        flag: flag as fuzzy what is translated
        split: finds the sentences of a message

    Segments carry their placeholders (message_placeholders.py). A translation that lacks one, or
    that has others, is left out, and noted.
    """
    notes: list[str] = []
    found = list(read_catalogue(text, notes))
    header = next((entry for entry in found if _is_header(entry)), None)
    sources = [entry.messages["msgid"].text for entry in found if "msgid" in entry.messages]
    writer = _EntryWriter(
        lambda said: parse_text(said, source, target, split=split),
        _forms(header, target),
        flag,
        marks_of(sources),
    )
    entries = [writer.entry(entry) for entry in found if _is_wanted(entry, fuzzy, obsolete)]
    return EmbeddedDocument(text, entries, notes, placeholders_of)


def _is_header(entry: PoEntry) -> bool:
    msgid = entry.messages.get("msgid")
    return msgid is not None and not msgid.text and "msgctxt" not in entry.messages


def _is_wanted(entry: PoEntry, fuzzy: bool, obsolete: bool) -> bool:
    if entry.broken or "msgid" not in entry.messages or _is_header(entry):
        return False
    translations = entry.translations
    if not translations or (entry.prefix and not obsolete):
        return False
    return not any(message.text for message in translations) or (fuzzy and "fuzzy" in entry.flags)


def _forms(header: PoEntry | None, target: str) -> int:
    """How many plural forms the target language has, by the header, else by the language."""
    said = header.translations[0].text if header is not None and header.translations else ""
    found = _PLURALS.search(said)
    if found and int(found.group(1)):
        return int(found.group(1))
    return 1 if re.split("[-_]", target.lower())[0] in _ONE_FORM else 2


def _has_placeholders_of(text: str) -> Callable[[str], bool]:
    kept = placeholders_of(text)
    return lambda other: placeholders_of(other) == kept


class _EntryWriter:
    """Makes what is translated, and written, of the entries of a catalogue."""

    def __init__(
        self, parse: Callable[[str], TextDocument], forms: int, flag: bool, marks: str
    ) -> None:
        self._parse, self._forms, self._flag, self._marks = parse, forms, flag, marks

    def entry(self, entry: PoEntry) -> Entry:
        """The singular, unless the target language has none, and the plural."""
        names = ["msgid"]
        if "msgid_plural" in entry.messages:
            names = ["msgid", "msgid_plural"] if self._forms > 1 else ["msgid_plural"]
        originals, texts = [], []
        accelerators: list[Accelerator | None] = []
        for name in names:
            message = entry.messages[name]
            plain, accelerator = take_accelerator(message.text, self._marks)
            if placeholders_of(plain) != placeholders_of(message.text):
                plain, accelerator = message.text, None  # it is a part of one
            originals.append(plain)
            accelerators.append(accelerator)
            texts.append(EmbeddedText(self._parse(plain), message.begin + 1, message.end - 1))

        def write(said: Sequence[str]) -> tuple[Sequence[Edit], str]:
            if list(said) == originals:
                return [], ""
            for original, text in zip(originals, said, strict=True):
                if lost := what_is_lost(original, text):
                    return [], f"line {entry.line}: the translation {lost}: left untranslated"
            marked = [
                text if mark is None else mark.put_into(text, _has_placeholders_of(text))
                for text, mark in zip(said, accelerators, strict=True)
            ]
            return self._edits(entry, marked), ""

        return Entry(texts, write)

    def _edits(self, entry: PoEntry, said: Sequence[str]) -> list[Edit]:
        wrapped = entry.messages["msgid"].lines > 1
        edits = []
        places = entry.translations
        if "msgid_plural" in entry.messages:
            places = places[: self._forms]
        for number, place in enumerate(places):
            text = said[min(number, len(said) - 1)]
            edits.append((place.begin, place.end, _spelled(entry, text, wrapped)))
        if len(places) < len(entry.translations):  # more than the header says
            edits.append((places[-1].end, entry.translations[-1].end, ""))
        if "msgid_plural" in entry.messages and len(places) < self._forms:
            edits.append(self._more_forms(entry, places, said[-1], wrapped))
        if self._flag and "fuzzy" not in entry.flags:
            edits.append(_fuzzy(entry))
        return edits

    def _more_forms(
        self, entry: PoEntry, places: Sequence[Message], text: str, wrapped: bool
    ) -> Edit:
        """The forms that the target has, and the entry not yet."""
        at = places[-1].end
        lines = [
            f"{entry.newline}{entry.prefix}msgstr[{number}] {_spelled(entry, text, wrapped)}"
            for number in range(len(places), self._forms)
        ]
        return at, at, "".join(lines)


def _spelled(entry: PoEntry, text: str, wrapped: bool) -> str:
    return spell(text, wrapped=wrapped, prefix=entry.prefix, newline=entry.newline)


def _fuzzy(entry: PoEntry) -> Edit:
    if entry.flags_at is not None:
        return entry.flags_at, entry.flags_at, " fuzzy,"
    return entry.keyword_at, entry.keyword_at, f"#, fuzzy{entry.newline}"
