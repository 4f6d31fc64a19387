"""Lines of text from any stream, however its bytes arrive."""

import io
import os

from hypothesis import given
from hypothesis import strategies as st

from tfm.runtime.files.text import read_chunks


class Dribble(io.BytesIO):
    """Gives a few bytes per read, as a slow pipe does."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self.size = size

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(self.size)


@given(
    lines=st.lists(st.text(st.characters(exclude_characters="\n\r", codec="utf-8"))),
    size=st.integers(1, 9),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_lines_survive_any_split(lines: list[str], size: int, end: str) -> None:
    data = "".join(line + end for line in lines).encode()
    chunks = list(read_chunks(Dribble(data, size), "test"))
    assert [line for chunk in chunks for line in chunk] == lines


def test_a_line_is_there_before_the_next_is_written() -> None:
    reader, writer = os.pipe()
    with open(reader, "rb") as stream, open(writer, "wb", buffering=0) as sink:
        chunks = read_chunks(stream, "test")
        sink.write(b"first\nsec")
        assert next(chunks) == ["first"]
        sink.write(b"ond\nthird")
        assert next(chunks) == ["second"]
        sink.close()
        assert list(chunks) == [["third"]]
