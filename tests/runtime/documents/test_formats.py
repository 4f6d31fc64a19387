"""Formats by name, and the text of files in the encodings that they come in."""

import codecs

import pytest
from helpers.documents import Said
from hypothesis import given
from hypothesis import strategies as st

from tfm.runtime.documents.formats import FORMATS, decode, find_format, read_document

TEXT = "第一行，很长很长的一行。\r\n第二行。\n"


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (TEXT.encode("utf-8"), "utf-8"),
        (TEXT.encode("gb18030"), "gb18030"),
        (codecs.BOM_UTF8 + TEXT.encode("utf-8"), "utf-8"),
        (codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"), "utf-16-le"),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), "utf-16-be"),
        (b"plain", "utf-8"),
        (b"", "utf-8"),
    ],
)
def test_encodings_are_told_apart_and_kept(content: bytes, encoding: str) -> None:
    document = read_document(content, FORMATS["text"], "zh", "en")
    assert (document.encoding, document.notes) == (encoding, ())
    assert document.assemble([Said(s.text) for s in document.segments]) == content
    assert all("\ufeff" not in segment.text for segment in document.segments)
    assert decode(content, None)[0] == (TEXT if len(content) > 5 else content.decode())


def test_lines_that_cannot_be_read_stay() -> None:
    content = "你好。\n".encode() + b"caf\xe9 au lait\n" + "再见。\n".encode()
    document = read_document(content, FORMATS["text"], "zh", "en")
    assert document.notes == ("line 2: not in this encoding, left as it is",)
    changed = [Said(s.text) if "\udce9" in s.text else Said("X.") for s in document.segments]
    assert document.assemble(changed) == b"X.\ncaf\xe9 au lait\nX.\n"


def test_an_encoding_that_was_named() -> None:
    content = "今天天氣很好。\n你好。".encode("big5")
    document = read_document(content, FORMATS["text"], "zh", "en", encoding="big5")
    assert document.assemble([Said(s.text) for s in document.segments]) == content
    with pytest.raises(ValueError, match="this is not utf-16"):
        read_document(b"abc", FORMATS["text"], "zh", "en", encoding="utf-16-le")


def test_a_translation_that_the_encoding_lacks_makes_it_utf8() -> None:
    document = read_document(b"caf\xe9.", FORMATS["text"], "fr", "zh", encoding="latin-1")
    assert document.assemble([Said("咖啡。")]) == "咖啡。".encode()


@given(st.binary(max_size=60))
def test_any_bytes_come_back(content: bytes) -> None:
    document = read_document(content, FORMATS["text"], "zh", "en")
    assert document.assemble([Said(s.text) for s in document.segments]) == content


def test_formats_are_found() -> None:
    assert find_format(None, "a/B.SRT").name == "srt"
    assert find_format("html", "a.txt").name == "html"
    with pytest.raises(ValueError, match="'pdf': choose one of text, "):
        find_format("pdf")
    with pytest.raises(ValueError, match=r"x\.pdf: the name does not say what it is"):
        find_format(None, "x.pdf")


def test_both_languages() -> None:
    document = read_document("你好。再见。\n\n123\n走".encode(), FORMATS["text"], "zh", "en")
    said = [Said("Hello."), Said("Bye."), Said("Go")]
    both = document.assemble(said, bilingual=True).decode()
    assert both == "你好。再见。\nHello. Bye.\n\n123\n走\nGo"
    cue = "1\n00:00:01,000 --> 00:00:02,000\n你好。\n".encode()
    document = read_document(cue, FORMATS["srt"], "zh", "en")
    assert document.assemble([Said("Hi.")], bilingual=True) == cue + b"Hi.\n"
    with pytest.raises(ValueError, match=r"html has no bilingual form; these have: text, srt, vtt"):
        read_document(b"", FORMATS["html"], "zh", "en").assemble([], bilingual=True)


def test_tables_have_columns() -> None:
    content = "id,zh\n1,你好。\n".encode()
    document = read_document(content, FORMATS["csv"], "zh", "en", columns=["zh"], into=["en"])
    assert document.assemble([Said("Hi.")]) == "id,zh,en\n1,你好。,Hi.\n".encode()
    document = read_document(b"1\tA is. B is.\n", FORMATS["tsv"], "en", "zh", columns=["2"])
    assert document.assemble([Said("甲。"), Said("乙。")]) == "1\t甲。乙。\n".encode()
    document = read_document('{"a": "你好"}'.encode(), FORMATS["jsonl"], "zh", "en", columns=["a"])
    assert document.assemble([Said("Hi")]) == b'{"a": "Hi"}'
    with pytest.raises(ValueError, match="there is no column 'b': the table has 'id', 'zh'"):
        read_document(content, FORMATS["csv"], "zh", "en", columns=["b"])


def test_what_was_lost_in_assembling_is_noted() -> None:
    catalogue = b'msgid "go to %s"\nmsgstr ""\n'
    document = read_document(catalogue, FORMATS["po"], "en", "zh")
    assert document.notes == ()
    assert document.assemble([Said("走吧")]) == catalogue
    assert len(document.notes) == 1 and "%s" in document.notes[0]


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(ValueError, match=r"\.docx|archive|Word"):
        read_document(b"no archive", FORMATS["docx"], "zh", "en")
