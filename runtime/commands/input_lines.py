"""Checks and splits input lines; runtime/files/text.py reads them."""

from collections.abc import Iterator

from tfm.runtime.errors import TfmError


def check_pairs(chunks: Iterator[list[str]], name: str) -> Iterator[list[str]]:
    """The same lines, each of which is source<TAB>target, and more columns where there are any.

    Raises:
        TfmError: a line has no tab
    """
    number = 0
    for chunk in chunks:
        for place, line in enumerate(chunk):
            if "\t" not in line:
                if place:
                    yield chunk[:place]
                raise TfmError(
                    f"{name}, line {number + place + 1}: no tab in {line[:40]!r};"
                    " --pairs expects source<TAB>target"
                )
        yield chunk
        number += len(chunk)


def split_texts(texts: tuple[str, ...]) -> list[str]:
    """Lines of the texts given as arguments.

    Raises:
        TfmError: a text was not UTF-8 on the command line
    """
    for place, text in enumerate(texts, start=1):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise TfmError(f"TEXT {place} is not UTF-8: {text!r}") from error
    return [line.removesuffix("\r") for text in texts for line in text.split("\n")]


def one_line(text: str) -> str:
    """A text whose line breaks are spaces."""
    return " ".join(text.splitlines())
