"""Text from strangers' files as a terminal may show it."""

import unicodedata

# Control characters, line and paragraph separators, unpaired surrogates, and the format characters
# that turn the direction of the text around them.
_ESCAPED_CATEGORIES = frozenset({"Cc", "Zl", "Zp", "Cs"})
_BIDIRECTIONAL = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def printable(text: str) -> str:
    """One line without anything that a terminal would obey: \\x1b, \\n, \\u202e as they are here.

    What comes from a config.json, a test set or a file's name goes through here before it is shown.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def quoted(value: object, most: int = 80) -> str:
    """A value as Python writes it, in one short line: at most so many characters."""
    text = printable(repr(value))
    return text if len(text) <= most else text[: most - 3] + "..."


def _escaped(character: str) -> str:
    if character == "\t":
        return character
    if unicodedata.category(character) in _ESCAPED_CATEGORIES or character in _BIDIRECTIONAL:
        return character.encode("unicode_escape").decode("ascii")
    return character
