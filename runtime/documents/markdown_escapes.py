"""Backslashes that keep words from becoming Markdown's markup."""

import re

_WOULD_BE_MARKUP = re.compile(
    r"[*`\[\]|]|<(?=[a-zA-Z/!?])|&(?=#?\w{1,32};)|\\(?=[!-/:-@\[-`{-~]|\Z)|(?<![^\W_])_+|_+(?![^\W_])"
    r"|~~"
)
_WOULD_BE_BLOCK = re.compile(r"(?:#{1,6}(?=\s)|[-+](?=\s)|>|=+\s*\Z|-+\s*\Z)|(\d{1,9})(?=[.)]\s)")


def would_be_markup(text: str) -> bool:
    """Whether Markdown would read a part of it as markup."""
    return _WOULD_BE_MARKUP.search(text) is not None


def escape(text: str) -> str:
    """The text with a backslash before what Markdown would read as markup."""
    return _WOULD_BE_MARKUP.sub(lambda found: "".join(f"\\{char}" for char in found.group()), text)


def escape_block(text: str, original: str) -> str:
    """A line that begins a block, and does not become a heading or an item by its words. The
    original takes its place where code would come first and begin a fence."""
    if text.startswith("```"):
        return original
    found = _WOULD_BE_BLOCK.match(text)
    if found is None:
        return text
    at = found.end(1) if found.group(1) else 0
    return f"{text[:at]}\\{text[at:]}"
