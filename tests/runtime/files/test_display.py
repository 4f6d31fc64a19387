"""What strangers' text cannot do to a terminal."""

import pytest

from tfm.runtime.files.display import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("谢谢 😀 é\ta", "谢谢 😀 é\ta"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\nb\rc\x0bd\x85e\u2028f", r"a\nb\rc\x0bd\x85e\u2028f"),
        ("\x9b31m\x07\0", r"\x9b31m\x07\x00"),
        ("\u202eevil\u2066", r"\u202eevil\u2066"),
        ("\udcff", r"\udcff"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
