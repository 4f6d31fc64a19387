"""Text that is not plain UTF-8: other encodings, byte order marks, arguments of another locale."""

import os
from pathlib import Path

import pytest
from helpers.command import tfm

from tfm.runtime.commands.input_lines import split_texts, utf8_argument
from tfm.runtime.errors import TfmError
from tfm.runtime.files.text import read_lines

TEXT = "我爱你。\n你叫什么名字？\n"


@pytest.mark.parametrize("encoding", ["gb18030", "big5", "utf-16", "utf-16-be", "utf-8-sig"])
def test_the_encoding_of_the_input_can_be_named(tmp_path: Path, encoding: str) -> None:
    text = TEXT if encoding != "big5" else "我愛你。\n"
    plain, other = tmp_path / "plain", tmp_path / "other"
    plain.write_text(text, "utf-8")
    other.write_bytes(text.encode(encoding))
    found = tfm("run", "-i", str(other), "--encoding", encoding)
    assert found == tfm("run", "-i", str(plain))
    assert found[0] == 0 and found[1].count("\n") == text.count("\n")


def test_an_encoding_that_does_not_fit_or_exist(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_bytes("我爱你。\n".encode("gb18030") + b"\xff\xff\n")
    status, stdout, stderr = tfm("run", "-i", str(source), "--encoding", "gb18030")
    assert (status, stdout) == (1, "")
    assert stderr == f"Error: {source}, line 2 is not gb18030\n"
    for name in ("klingon", "base64", "\0"):
        status, _, stderr = tfm("run", "--encoding", name, "x")
        assert status == 2
        assert "is no encoding" in stderr


def test_text_that_is_not_utf8_leads_to_the_option(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_bytes("我爱你。\n".encode("gb18030"))
    status, _, stderr = tfm("run", "-i", str(source))
    assert status == 1
    assert "line 1 is not UTF-8 (byte 0xce): name its encoding, such as --encoding gb" in stderr
    source.write_bytes("我爱你。\n".encode("utf-16"))
    assert "(it begins as UTF-16 does): name its encoding" in tfm("run", "-i", str(source))[2]


def test_byte_order_marks_are_no_text_even_where_files_were_joined(tmp_path: Path) -> None:
    path = tmp_path / "joined.tsv"
    path.write_bytes("\ufeffa\t\ufeffb\n\ufeffc\td\ufeff\n".encode())
    assert list(read_lines(path)) == ["a\tb", "c\td\ufeff"]
    path.write_text("\ufeff我爱你。\n\ufeff我爱你。\n", "utf-8")
    assert tfm("run", "-i", str(path)) == (0, "I love you.\nI love you.\n", "")


def test_an_argument_of_another_locale_is_read_as_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode("latin-1"))
    assert utf8_argument("谢谢。".encode().decode("latin-1")) == "谢谢。"
    assert utf8_argument("Grün") == "Grün"  # really in this locale's encoding
    assert split_texts(("谢谢".encode("gb18030").decode("latin-1"),), "gb18030") == ["谢谢"]
    with pytest.raises(TfmError, match="TEXT 1 is not utf-16"):
        split_texts(("abc",), "utf-16")
