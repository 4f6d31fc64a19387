"""What a translation must take over as it is: addresses, file names, code, placeholders, emoji."""

import re

import numpy as np

from .copied_items import (
    EMOJI,
    TAGS,
    copied_item,
    random_brand,
    random_mail,
    random_placeholder,
    random_tag,
    random_url,
    random_word,
)
from .names import Names
from .sides import choose, replace_once

_SHARED = re.compile(r"[A-Za-z0-9_.:/@#%{}$+-]{2,}(?<![.:,-])")


class CopiedText:
    """Puts something to be copied into both sentences: in the place of what both hold already, of
    a name, or at an end; or sets both between tags, quotes or brackets."""

    def __init__(self, names: Names | None) -> None:
        """names: what else may be replaced."""
        self.names = names

    def __call__(
        self, chinese: str, english: str, generator: np.random.Generator, *, from_english: bool
    ) -> tuple[str, str] | None:
        """None if there is nothing to replace, and no way to add."""
        places = [(text, text) for text in sorted(set(_SHARED.findall(chinese)))]
        if self.names is not None:
            places += [(name, form) for name, form, _ in self.names.find(chinese, english)]
        generator.shuffle(places)
        for chinese_place, english_place in places:
            new = copied_item(generator)
            changed = (
                replace_once(chinese, chinese_place, _apart(new, generator)),
                replace_once(english, english_place, new),
            )
            if changed[0] is not None and changed[1] is not None:
                return changed[0].strip(), changed[1]
        return _added(chinese, english, generator)


def _added(chinese: str, english: str, generator: np.random.Generator) -> tuple[str, str] | None:
    """The sentences with something before, after or around them."""
    kind = int(generator.integers(6))
    if kind == 0:
        emoji = choose(EMOJI, generator) * choose((1, 1, 1, 2, 3), generator)
        space = choose(("", " "), generator)
        return chinese + space + emoji, f"{english} {emoji}"
    if kind == 1:
        tag = choose(TAGS, generator)
        return f"<{tag}>{chinese}</{tag}>", f"<{tag}>{english}</{tag}>"
    if kind == 2:
        number = f"{generator.integers(1, 30)}."
        mark = choose(("- ", "* ", f"{number} ", "# ", "## ", "> ", "@", "• "), generator)
        if mark == "@":
            mark = f"@{random_word(generator)} "
        return mark + chinese, mark + english
    if kind == 3:
        new = choose((random_url, random_mail, random_tag, random_placeholder), generator)(
            generator
        )
        colon = choose(("：", "：", ": ", " "), generator)
        stem = chinese[:-1] if chinese[-1] in "。！？" else chinese
        start = english.removesuffix(".")
        return f"{stem}{colon}{new}", f"{start}{':' if colon != ' ' else ''} {new}"
    if kind == 4:
        new = choose((random_placeholder, random_brand), generator)(generator)
        return f"{new}：{chinese}", f"{new}: {english}"
    left, right = choose((("“", "”"), ("（", "）"), ("【", "】")), generator)
    plain = {"“": ('"', '"'), "（": ("(", ")"), "【": ("[", "]")}[left]
    return f"{left}{chinese}{right}", f"{plain[0]}{english}{plain[1]}"


def _apart(text: str, generator: np.random.Generator) -> str:
    """The text with or without spaces about it, as both are usual within Chinese."""
    return choose((text, f" {text} "), generator)
