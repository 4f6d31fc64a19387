"""Text goes back into runs with the formats of its words, and all else of a Word document stays."""

import io
import re
import struct
import zipfile
from collections import Counter

import numpy as np
import pytest
from helpers.documents import Said, copied, said, shuffled_all, translated
from helpers.needs import needs_module
from hypothesis import given, settings
from hypothesis import strategies as st

from tfm.runtime.alignment import Alignment
from tfm.runtime.documents.docx import parse_docx

docx = needs_module("docx")
etree = needs_module("lxml.etree")

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
HEAD = (
    f'<?xml version="1.0" encoding="UTF-8"?>\r\n<w:document xmlns:w="{W}" xmlns:r="r" xmlns:v="v"'
    ' xmlns:mc="mc"><w:body>'
)
TAIL = "</w:body></w:document>"


def empty() -> bytes:
    file = io.BytesIO()
    docx.Document().save(file)
    return file.getvalue()


EMPTY = empty()


def archive(body: str, name: str = "word/document.xml") -> bytes:
    """python-docx's empty document with another body."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(EMPTY)) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            same = entry.filename != name
            new.writestr(entry, old.read(entry) if same else HEAD + body + TAIL)
    return out.getvalue()


def body_of(content: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        text = file.read("word/document.xml").decode()
    assert text.startswith(HEAD)
    return text[len(HEAD) : -len(TAIL)]


def run(text: str, properties: str = "") -> str:
    properties = f"<w:rPr>{properties}</w:rPr>" if properties else ""
    space = ' xml:space="preserve"' if text != text.strip() else ""
    return f"<w:r>{properties}<w:t{space}>{text}</w:t></w:r>"


def paragraph(*content: str) -> str:
    return f'<w:p w:rsidR="1"><w:pPr><w:jc w:val="left"/></w:pPr>{"".join(content)}</w:p>'


def test_words_keep_their_formats() -> None:
    content = archive(paragraph(run("我昨天"), run("在北京", "<w:b/>"), run("见到他。")))
    document = parse_docx(content, "zh", "en")
    assert [(s.text, s.marks) for s in document.segments] == [("我昨天在北京见到他。", True)]
    assert copied(document) == content
    moved = said(
        "我昨天在北京见到他。",
        ("Yesterday", "昨天"), (" I", "我"), (" met", "见到"), (" him", "他"), (" in", "在"),
        (" Beijing", "北京"), (".", "。"),
    )  # fmt: skip
    result = document.assemble([moved])
    assert body_of(result) == paragraph(
        run("Yesterday I met him "), run("in Beijing", "<w:b/>"), run(".")
    )
    assert [r.bold for r in docx.Document(io.BytesIO(result)).paragraphs[0].runs] == [
        None, True, None,
    ]  # fmt: skip


def test_what_is_aligned_with_nothing_has_its_neighbours_format() -> None:
    content = archive(paragraph(run("甲甲", "<w:b/>"), run("乙", "<w:i/>")))
    document = parse_docx(content, "zh", "en")
    target = "...two! oneish?"
    places = ((3, 6), (8, 11))
    alignment = Alignment(
        "甲甲乙", target, ((0, 2), (2, 3)), places, np.array([[0, 1], [1, 0]], np.float32)
    )
    assert body_of(document.assemble([Said(target, alignment)])) == paragraph(
        run("...two!", "<w:i/>"), run(" oneish?", "<w:b/>")
    )
    assert body_of(document.assemble([Said("one two")])) == paragraph(run("one two", "<w:b/>"))


def test_sentences_tabs_and_breaks() -> None:
    content = archive(
        paragraph(
            "<w:r><w:rPr><w:b/></w:rPr><w:t>一。二。</w:t><w:tab/><w:t>三</w:t><w:br/>"
            '<w:t xml:space="preserve">四 </w:t><w:lastRenderedPageBreak/></w:r>'
        )
    )
    document = parse_docx(content, "zh", "en")
    texts = [segment.text for segment in document.segments]
    assert texts == ["一。", "二。", "三", "四"]
    spans = [(s.begin, s.end) for s in document.segments]
    assert spans == [(0, 2), (2, 4), (5, 6), (7, 8)]
    result = body_of(translated(document, **{"一。": "One.", "二。": "Two.", "四": "Four"}))
    assert "".join(re.findall(r"<w:t[ >][^<]*|<w:tab/>|<w:br/>", result)).replace(
        ' xml:space="preserve"', ""
    ) == ("<w:t>One. Two.<w:tab/><w:t>三<w:br/><w:t>Four ")
    assert result.count("<w:rPr><w:b/></w:rPr>") == result.count("<w:r>") == 5


def test_links_fields_bookmarks_and_changes_stay() -> None:
    def field(code: str, text: str) -> str:
        parts = [f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>' for kind in ("begin", "end")]
        separate = '<w:r><w:fldChar w:fldCharType="separate"/></w:r>'
        code = f"<w:r><w:instrText>{code}</w:instrText></w:r>"
        return parts[0] + code + separate + text + parts[1]

    content = archive(
        paragraph(
            '<w:bookmarkStart w:id="0" w:name="a"/>', run("请看"),
            '<w:proofErr w:type="spellStart"/>', '<w:bookmarkEnd w:id="0"/>',
            f'<w:hyperlink r:id="1">{run("链接", "<w:u/>")}</w:hyperlink>', run("和"),
            field(" HYPERLINK x", run("网页", "<w:i/>")), run("第"), field(" PAGE ", run("3")),
            run("页"), f'<w:ins w:id="5">{run("吧")}</w:ins>',
            '<w:del w:id="6"><w:r><w:delText>啊</w:delText></w:r></w:del>',
            '<w:r><w:footnoteReference w:id="2"/></w:r>',
            f"<w:sdt><w:sdtPr><w:id/></w:sdtPr><w:sdtContent>{run('嗯')}</w:sdtContent></w:sdt>",
            run("。"),
        )
    )  # fmt: skip
    document = parse_docx(content, "zh", "en")
    assert [s.text for s in document.segments] == ["请看链接和网页第页吧嗯。"]
    assert copied(document) == content
    source = document.segments[0].text
    order = ["网页", "链接", "嗯", "请看", "第", "页", "吧", "和", "。"]
    translation = said(source, *[(f" w{number}", word) for number, word in enumerate(order)])
    result = body_of(document.assemble([translation]))
    assert not document.notes
    tree = etree.fromstring((HEAD + result + TAIL).encode())
    assert tree.findtext(f".//{{{W}}}hyperlink//{{{W}}}t").strip() == "w1"
    assert tree.findtext(f".//{{{W}}}sdtContent//{{{W}}}t").strip() == "w2"
    assert tree.findtext(f".//{{{W}}}ins//{{{W}}}t").strip() == "w6"
    assert tree.findtext(f".//{{{W}}}delText") == "啊"
    assert "<w:rPr><w:i/></w:rPr><w:t>w0</w:t>" in result.replace(
        ' xml:space="preserve"', ""
    ).replace("> w0", ">w0")
    kinds = re.findall(r'fldCharType="(\w+)"|<w:instrText>([^<]*)', result)
    words = [first or second for first, second in kinds]
    assert sorted([words[:4], words[4:]]) == [
        ["begin", " HYPERLINK x", "separate", "end"],
        ["begin", " PAGE ", "separate", "end"],
    ]
    assert result.index("bookmarkStart") < result.index("bookmarkEnd")
    page = re.search(r'PAGE .*?"separate".*?"end"', result, re.DOTALL)
    assert page and page[0].count("3</w:t>") == 1


def test_paragraphs_in_tables_text_boxes_and_other_parts() -> None:
    box = f"<w:txbxContent>{paragraph(run('盒子'))}</w:txbxContent>"
    content = archive(
        paragraph(run("前"), f"<w:r><w:pict><v:shape>{box}</v:shape></w:pict></w:r>", run("后"))
        + f"<w:tbl><w:tr><w:tc>{paragraph(run('格'))}</w:tc></w:tr></w:tbl>"
    )
    document = parse_docx(content, "zh", "en")
    assert [s.text for s in document.segments] == ["前后", "盒子", "格"]
    result = body_of(translated(document, 前后="around", 盒子="box", 格="cell"))
    assert run("box") in result and run("cell") in result and "around" in result
    only_box = body_of(translated(document, 盒子="box"))
    assert only_box == body_of(content).replace("盒子", "box")

    word = docx.Document()
    word.sections[0].header.paragraphs[0].text = "页眉"
    word.sections[0].footer.paragraphs[0].text = "页脚"
    word.add_paragraph("正文", style="List Bullet")
    file = io.BytesIO()
    word.save(file)
    document = parse_docx(file.getvalue(), "zh", "en")
    said_all = translated(document, 页眉="Header", 页脚="Footer", 正文="Body")
    read = docx.Document(io.BytesIO(said_all))
    section = read.sections[0]
    assert (section.header.paragraphs[0].text, section.footer.paragraphs[0].text) == (
        "Header",
        "Footer",
    )
    assert read.paragraphs[0].text == "Body"
    assert read.paragraphs[0].style.name == "List Bullet"


def test_other_entries_are_copied_bit_for_bit() -> None:
    out = io.BytesIO(b"")
    with zipfile.ZipFile(io.BytesIO(EMPTY)) as old, zipfile.ZipFile(out, "w") as new:
        new.comment = b"a comment"
        for number, entry in enumerate(old.infolist()):
            info = zipfile.ZipInfo(entry.filename, (1990 + number, 1, 2, 3, 4, 6))
            info.compress_type = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED][number % 2]
            info.comment, info.external_attr = b"x%d" % number, 0o640 << 16
            info.extra = b"\xfe\xca\x02\x00ab"
            data = old.read(entry)
            if entry.filename == "word/document.xml":
                data = (HEAD + paragraph(run("甲")) + TAIL).encode()
            new.writestr(info, data)
    content = out.getvalue()
    result = translated(parse_docx(content, "zh", "en"), 甲="one")
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(io.BytesIO(result)) as new:
        assert new.testzip() is None
        assert new.comment == old.comment
        for before, after in zip(old.infolist(), new.infolist(), strict=True):
            for name in (
                "filename", "date_time", "compress_type", "comment", "extra", "external_attr",
                "create_system", "flag_bits",
            ):  # fmt: skip
                assert getattr(before, name) == getattr(after, name)
            if before.filename != "word/document.xml":
                records = [
                    data[info.header_offset :][: info.compress_size + 30]
                    for data, info in ((content, before), (result, after))
                ]
                assert records[0] == records[1]
    assert body_of(result) == paragraph(run("one"))


def test_archives_with_data_descriptors() -> None:
    class Pipe(io.RawIOBase):
        data = b""

        def writable(self) -> bool:
            return True

        def write(self, data) -> int:
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    old = zipfile.ZipFile(io.BytesIO(archive(paragraph(run("甲")))))
    with old, zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    document = parse_docx(pipe.data, "zh", "en")
    assert copied(document) == pipe.data
    result = translated(document, 甲="one")
    with zipfile.ZipFile(io.BytesIO(result)) as file:
        assert file.testzip() is None
        for entry in file.infolist():
            flags = int.from_bytes(result[entry.header_offset + 6 :][:2], "little")
            assert flags == entry.flag_bits
    assert body_of(result) == paragraph(run("one"))


@pytest.mark.parametrize("cut", [0, 10, 5_000, -1])
def test_what_is_no_document_is_refused_in_one_line(cut: int) -> None:
    with pytest.raises(ValueError, match="the zip archive is broken or cut off: "):
        parse_docx(EMPTY[:cut] if cut >= 0 else EMPTY[:-30], "zh", "en")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as new:
        new.writestr("xl/workbook.xml", "")
    with pytest.raises(ValueError, match="no Word document"):
        parse_docx(file.getvalue(), "zh", "en")


@pytest.mark.parametrize(
    ("packing", "message"), [("zip64", r"\(zip64\)"), ("bzip2", "packed in a rare way")]
)
def test_archives_that_cannot_be_written_again_are_refused(packing: str, message: str) -> None:
    content = archive(paragraph(run("甲")))
    if packing == "zip64":
        at = content.index(b"PK\x05\x06")
        _, _, _, count, total, size, begin, _ = struct.unpack_from("<4s4H2IH", content, at)
        end = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, total, size, begin)
        locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, at, 1)
        content = content[:at] + end + locator + content[at:]
        assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None
    else:
        file = io.BytesIO()
        old = zipfile.ZipFile(io.BytesIO(content))
        with old, zipfile.ZipFile(file, "w", zipfile.ZIP_BZIP2) as new:
            for entry in old.infolist():
                new.writestr(entry.filename, old.read(entry))
        content = file.getvalue()
    with pytest.raises(ValueError, match=message):
        parse_docx(content, "zh", "en")


def test_broken_parts_are_noted_and_the_rest_is_translated() -> None:
    out = io.BytesIO()
    old = zipfile.ZipFile(io.BytesIO(archive(paragraph(run("甲")))))
    with old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            new.writestr(entry, old.read(entry))
        new.writestr("word/header1.xml", f'<w:hdr xmlns:w="{W}"><w:p></w:hdr>')
        new.writestr("word/header2.xml", b"<w:hdr>\xff</w:hdr>")
        new.writestr("word/footer1.xml", "STORED AS IT IS")
    content = out.getvalue().replace(b"STORED AS IT IS", b"SPOILED IN PLACE"[:15], 1)
    document = parse_docx(content, "zh", "en")
    assert [note.partition(":")[0] for note in document.notes] == [
        "word/header1.xml is left as it is",
        "word/header2.xml is left as it is",
        "word/footer1.xml is left as it is",
    ]
    assert all("\n" not in note for note in document.notes)
    assert copied(document) == content
    assert body_of(translated(document, 甲="one")) == paragraph(run("one"))


PIECES = [
    run("甲乙"), run("丙。", "<w:b/>"), run(" a b ", "<w:i/>"), run("丁，", "<w:b/>"),
    "<w:r><w:t>x&lt;y</w:t><w:tab/><w:t>戊</w:t></w:r>", "<w:r><w:br/></w:r>",
    '<w:hyperlink r:id="1">', "</w:hyperlink>", '<w:ins w:id="1">', "</w:ins>",
    '<w:bookmarkStart w:id="1"/>', '<w:bookmarkEnd w:id="1"/>',
    '<w:bookmarkStart w:id="2"/>', '<w:bookmarkEnd w:id="2"/>',
    '<w:r><w:fldChar w:fldCharType="begin"/></w:r>', '<w:r><w:fldChar w:fldCharType="end"/></w:r>',
    '<w:r><w:fldChar w:fldCharType="separate"/></w:r>',
    "<w:r><w:instrText> HYPERLINK </w:instrText></w:r>",
    "<w:sdt><w:sdtPr/><w:sdtContent>", "</w:sdtContent></w:sdt>",
    '<w:r><w:drawing w:a="1"/></w:r>', "<w:del><w:r><w:delText>己</w:delText></w:r></w:del>",
]  # fmt: skip
KEPT = [
    "hyperlink",
    "ins",
    "bookmarkStart",
    "bookmarkEnd",
    "fldChar",
    "instrText",
    "sdt",
    "sdtPr",
    "drawing",
    "del",
    "tab",
    "br",
]


@settings(max_examples=120, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=20))
def test_documents_stay_well_formed_and_nothing_is_lost(pieces: list[str]) -> None:
    content = archive(paragraph(*pieces))
    document = parse_docx(content, "zh", "en")
    assert copied(document) == content
    result = shuffled_all(document)
    try:
        before = etree.fromstring((HEAD + body_of(content) + TAIL).encode())
    except etree.XMLSyntaxError:
        assert document.notes and result == content
        return
    after = etree.fromstring((HEAD + body_of(result) + TAIL).encode())
    counts = [
        Counter(re.sub("{.*}", "", node.tag) for node in tree.iter()) for tree in (before, after)
    ]
    assert [counts[0][name] for name in KEPT] == [counts[1][name] for name in KEPT]
    for node in after.iter(f"{{{W}}}r"):
        assert [child.tag for child in node if child.tag.endswith("rPr")] == [
            child.tag for child in node[:1] if child.tag.endswith("rPr")
        ]
    for node in after.iter(f"{{{W}}}t"):
        assert node.getparent().tag == f"{{{W}}}r"
        space = node.get("{http://www.w3.org/XML/1998/namespace}space")
        assert space == "preserve" or (node.text or "") == (node.text or "").strip()
    if not document.notes and document.segments:
        words = sum(len(s.text.replace(" ", "")) for s in document.segments)
        said_all = "".join(node.text or "" for node in after.iter(f"{{{W}}}t"))
        assert len(re.findall(r"w\d+", said_all)) >= words
        read = docx.Document(io.BytesIO(result))
        assert len(read.paragraphs) == 1


@pytest.mark.parametrize("part", [*PIECES[:6], *PIECES[10:18:2], run("甲") + PIECES[-1], "<w:p>"])
def test_hostile_documents_take_time_in_proportion(part: str) -> None:
    content = archive(paragraph(part * 3_000))
    document = parse_docx(content, "zh", "en")
    assert copied(document) == content
    document.assemble([Said("x") for _ in document.segments])


def test_a_word_has_one_format_and_sentences_of_chinese_no_space_between() -> None:
    document = parse_docx(archive(paragraph(run("甲"), run("乙", "<w:b/>"))), "zh", "en")
    alignment = Alignment(
        "甲乙", "oneish", ((0, 1), (1, 2)), ((0, 2), (2, 6)), np.eye(2, dtype=np.float32)
    )
    assert body_of(document.assemble([Said("oneish", alignment)])) == paragraph(
        run("oneish", "<w:b/>")
    )
    document = parse_docx(archive(paragraph(run("Hello. Bye."))), "en", "zh")
    assert body_of(translated(document, **{"Hello.": "你好。", "Bye.": "再见。"})) == paragraph(
        run("你好。再见。")
    )


def test_fields_that_end_in_another_element_stay_in_their_order() -> None:
    kinds = {
        kind: f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>'
        for kind in ("begin", "separate", "end")
    }
    content = archive(
        paragraph(
            kinds["begin"], kinds["separate"],
            f'<w:hyperlink r:id="1">{run("甲")}{kinds["end"]}</w:hyperlink>', run("乙。"),
        )
    )  # fmt: skip
    document = parse_docx(content, "zh", "en")
    assert [s.text for s in document.segments] == ["甲乙。"]
    result = body_of(
        document.assemble([said("甲乙。", ("One", "甲"), (" two", "乙"), (".", "。"))])
    )
    assert not document.notes
    assert re.findall('fldCharType="(.*?)"', result) == ["begin", "separate", "end"]


def test_what_would_be_out_of_order_is_left_and_noted() -> None:
    marks = [
        f'<w:bookmark{kind} w:id="{number}"/>' for kind in ("Start", "End") for number in (1, 2)
    ]
    words = [run(word) for word in "甲乙丙丁"]
    content = "".join(part for pair in zip(marks, words, strict=True) for part in pair)
    document = parse_docx(archive(paragraph(run("前。") + content)), "zh", "en")
    translations = [
        said("甲乙丙丁", ("d", "丁"), (" c", "丙"), (" b", "乙"), (" a", "甲"))
        if segment.text == "甲乙丙丁"
        else Said(segment.text)
        for segment in document.segments
    ]
    assert body_of(document.assemble(translations)) == paragraph(run("前。") + content)
    assert document.notes == [
        "word/document.xml: the markup of a paragraph would be out of order, so it is left: '前。'"
    ]


def test_text_boxes_in_too_many_others_stay() -> None:
    depth = 300
    begin = "".join(f"<w:p>{run(f'第{number}')}<w:r><w:pict>" for number in range(depth))
    content = archive(begin + "</w:pict></w:r></w:p>" * depth)
    document = parse_docx(content, "zh", "en")
    assert document.notes == ["word/document.xml: 290 text boxes within 10 others stay as they are"]
    result = body_of(document.assemble([Said("x") for _ in document.segments]))
    assert result.count("<w:t>x</w:t>") == 10
    assert result.count("第") == 290
