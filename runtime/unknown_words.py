"""Unknown tokens in a translation: the source's own words in their place.

Only models that others trained can write one: vocabularies with byte fallback have a token for
every text.
"""

from collections.abc import Sequence

from .alignment import Alignment
from .scripts import is_spaced_letter


def replace_unknowns(alignment: Alignment, ids: Sequence[int], unk_id: int) -> str:
    """The translation with the source word that an unknown token looks at in that token's place
    (Luong et al. 2015, addressing the rare word problem).

    An unknown token that looks at nothing is left out.

    Args:
        ids: the tokens of the translation, without BOS and EOS
    """
    target = alignment.target
    source_of = {target: source for source, target in alignment.pairs}
    text, at = "", 0
    for index, (token, (begin, end)) in enumerate(zip(ids, alignment.target_spans, strict=True)):
        if token != unk_id:
            continue
        word = ""
        if index in source_of:
            word = _word(alignment.source, *alignment.source_spans[source_of[index]])
        text, at = (text + target[at:begin]).rstrip(), end
        if text and word and (is_spaced_letter(text[-1]) or is_spaced_letter(word[0])):
            text += " "
        text += word
    return (text + target[at:]).strip()


def _word(text: str, begin: int, end: int) -> str:
    """The whole word that a part of it belongs to."""
    while begin < end and text[begin].isspace():
        begin += 1
    while begin and is_spaced_letter(text[begin - 1]) and is_spaced_letter(text[begin]):
        begin -= 1
    while end < len(text) and is_spaced_letter(text[end]) and is_spaced_letter(text[end - 1]):
        end += 1
    return text[begin:end].strip()
