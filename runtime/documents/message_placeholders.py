"""Placeholders of the messages of programs."""

from tfm.runtime.placeholders import PlaceholderPatterns

# Of printf (C, Python, PHP, ...), by position and by name, and %1 of Qt.
FORMAT_PATTERNS = (
    r"%(?:\d+\$)?(?:\([^)\s]+\))?[-+#0']*(?:\*|\d+)?(?:\.(?:\*|\d+))?(?:hh|ll|[hlLqjzt])?"
    r"[diouxXeEfFgGaAcspnCS@%]",
    r"%L?\d{1,2}",
)
PLACEHOLDERS = PlaceholderPatterns(("urls", "tags", "braces"), FORMAT_PATTERNS)


def placeholders_of(text: str) -> tuple[str, ...]:
    """The placeholders of a message, in their order."""
    return tuple(found.text for found in PLACEHOLDERS.find(text))


def what_is_lost(message: str, translation: str) -> str:
    """What is wrong with the placeholders of a translation; "" if they are those of the message."""
    lost = [found.text for found in PLACEHOLDERS.lacking(message, translation)]
    added = [found.text for found in PLACEHOLDERS.added(message, translation)]
    parts = [f"lacks {' '.join(lost)}"] if lost else []
    parts += [f"has {' '.join(added)} too much"] if added else []
    return " and ".join(parts)
