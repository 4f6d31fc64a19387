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


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("xliff", """<?xml version="1.0" encoding="{}"?>
<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2"><file original="a"
 source-language="en" target-language="zh" datatype="plaintext"><body>
<trans-unit id="1"><source>r\xe9sum\xe9s.</source></trans-unit></body></file></xliff>"""),
        ("html", '<html><meta charset="{}"><p>r\xe9sum\xe9s.</p></html>'),
        ("po", 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset={}\\n"\n\n'
               'msgid "r\xe9sum\xe9s."\nmsgstr ""\n'),
    ],
)  # fmt: skip
def test_a_file_says_what_encoding_it_is_in(format: str, text: str) -> None:
    def read(content: bytes):
        return read_document(content, FORMATS[format], "en", "zh")

    latin = read(text.format("ISO-8859-1").encode("latin-1"))
    assert [segment.text for segment in latin.segments] == ["r\xe9sum\xe9s."]
    assert latin.assemble([Said("r\xe9sum\xe9s.")]) == text.format("ISO-8859-1").encode("latin-1")
    assert latin.assemble([Said("\xe9t\xe9.")]).decode("latin-1").count("\xe9t\xe9.") == 1
    assert not latin.notes
    # What Latin-1 lacks makes it UTF-8, and the file says so.
    written = latin.assemble([Said("简历。")]).decode("utf-8")
    assert "简历。" in written and written.count("UTF-8") == 1 and "ISO" not in written
    assert latin.notes == (
        "the translation has characters that iso-8859-1 lacks: written as UTF-8",
    )
    # ASCII, a name that is none, and one that is not what the file is in.
    for declared in ("US-ASCII", "CHARSET", "utf-16", "rot13"):
        plain = read(text.replace("\xe9", "e").format(declared).encode())
        written = plain.assemble([Said("简历。")]).decode("utf-8")
        assert "简历。" in written and written.count("UTF-8") == 1 and declared not in written
    unchanged = text.format("CHARSET").encode("utf-8")
    assert read(unchanged).assemble([Said("r\xe9sum\xe9s.")]) == unchanged


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
    with pytest.raises(ValueError, match="this is not utf-16-le: name another"):
        read_document("你好\n".encode("utf-16") + b"\x80", FORMATS["text"], "zh", "en")
    with pytest.raises(ValueError, match=r"\.docx|archive|Word"):
        read_document(b"no archive", FORMATS["docx"], "zh", "en")
