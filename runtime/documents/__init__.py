"""Texts of many sentences: what to translate in them, and how they are put together again.

Nothing here translates. A parser finds the sentences of a text (`Document.segments`); whoever has a
translator translates them, in one batch or as they come; `Document.assemble` gives the text back
with its layout.
"""

from .document import Document, Segment
from .html_text import parse_html
from .plain_text import parse_text
from .sentences import split_sentences

__all__ = ["Document", "Segment", "parse_html", "parse_text", "split_sentences"]
