"""Text in other encodings than UTF-8."""

import codecs

from tfm.runtime.errors import TfmError

from .text import CHUNK_BYTES, Readable


def check_encoding(name: str) -> None:
    """
    Raises:
        ValueError: Python has no encoding of text with this name
    """
    try:
        b"a".decode(name, "ignore")  # nothing at all would be decoded by any name
        codecs.getincrementaldecoder(name)
    except (LookupError, ValueError) as error:  # ValueError: of a name with a NUL
        raise ValueError(
            f"{name!r} is no encoding: name one such as gb18030, big5, shift_jis, cp1252 or utf-16"
        ) from error


class ToUtf8:
    """A stream of text in another encoding, read as UTF-8."""

    def __init__(self, stream: Readable, name: str, encoding: str) -> None:
        """
        Args:
            name: what errors call the stream
            encoding: one that `check_encoding` lets pass
        """
        self._stream, self._name, self._encoding = stream, name, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._line = 1  # that the next text is of
        self._ended = False

    def read1(self, size: int = -1, /) -> bytes:
        """Some text, as soon as there is some; none at the end.

        Raises:
            TfmError: what comes next is not in this encoding
        """
        while not self._ended:
            data = self._stream.read1(CHUNK_BYTES if size < 0 else size)
            self._ended = not data
            try:
                text = self._decoder.decode(data, final=self._ended)
                encoded = text.encode("utf-8")
            except UnicodeError as error:
                line = self._line + _lines_before(error, self._encoding)
                raise TfmError(f"{self._name}, line {line} is not {self._encoding}") from error
            self._line += text.count("\n")
            if encoded:
                return encoded
        return b""


def _lines_before(error: UnicodeError, encoding: str) -> int:
    """Ends of lines in what could be decoded."""
    if not isinstance(error, UnicodeDecodeError):
        return 0
    return error.object[: error.start].decode(encoding, "ignore").count("\n")
