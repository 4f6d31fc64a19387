"""Columns are translated in their places, and all other bytes of a table stay."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from helpers.documents import copied, translated
from hypothesis import given, settings
from hypothesis import strategies as st

from tfm.runtime.documents.tables import iterate_csv, lines_of, parse_csv


def rows(text: str, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def test_only_the_column_changes() -> None:
    text = '\ufeffid;"text"; x\r\n1; "a" ;y\r\n\r\n"2";"你好。再见。";\'z\'\n3;甲\r4;"甲;""乙"""'
    document = parse_csv(text, "zh", "en", columns=[2], delimiter=";", header=True)
    assert [s.text for s in document.segments] == ['"a"', "你好。", "再见。", "甲", '甲;"乙"']
    assert [text[s.begin : s.end] for s in document.segments[1:4]] == ["你好。", "再见。", "甲"]
    assert not document.notes
    result = translated(
        document, **{"你好。": 'Say "hi".', "再见。": "Bye.", "甲": "a;b", '甲;"乙"': "A"}
    )
    assert result == (
        '\ufeffid;"text"; x\r\n1;" ""A"" ";y\r\n\r\n"2";"Say ""hi"". Bye.";\'z\'\n3;"a;b"\r4;"A"'
    )


def test_columns_by_name_into_new_ones() -> None:
    text = 'id,"zh",note\n1,"你好",x\n2,再见,\n3,12,y\n4,甲\n'
    document = parse_csv(text, "zh", "en", columns=["zh"], into=["en, new"])
    result = translated(document, 你好="Hello", 再见='a "b"')
    assert result == (
        'id,"zh",note,"en, new"\n1,"你好",x,"Hello"\n2,再见,,"a ""b"""\n3,12,y,12\n4,甲\n'
    )
    assert document.notes == ["line 5: 2 fields, where the first record has 3: left as it is"]


def test_tables_with_tabs_need_no_quoting() -> None:
    text = '1\t"你好，"他说。\n2\t"再见"\n3\t"多\t行\n'
    document = parse_csv(text, "zh", "en", columns=[2], delimiter="\t")
    said = {'"你好，"他说。': '"Hi,"\the said.', "再见": '"Bye"', '"多': "many"}
    assert translated(document, **said) == ('1\t"Hi," he said.\n2\t"""Bye"""\n3\tmany\t行\n')
    assert not document.notes


def test_fields_of_several_lines() -> None:
    text = 'a,b\n1,"你好\n\n再见"\n2,"甲\r乙"'
    document = parse_csv(text, "zh", "en", columns=["b"])
    result = translated(document, 你好="Hello", 再见="Bye", 甲="A", 乙="B")
    assert result == 'a,b\n1,"Hello\n\nBye"\n2,"A\rB"'
    assert [
        (record.text, [s.text for s in record.segments])
        for record in iterate_csv(lines_of(text), "zh", "en", columns=["b"])
    ] == [
        ("a,b\n", []),
        ('1,"你好\n\n再见"\n', ["你好", "再见"]),
        ('2,"甲\r乙"', ["甲", "乙"]),
    ]


@pytest.mark.parametrize(
    ("text", "note", "result"),
    [
        ('a,b\n1,"甲\n2,乙\n', "line 2: the quote of field 2", 'a,b\n1,X\n2,X\n'),
        ('a,b\n1,"甲"乙\n2,丙\n', "line 2: the quote of field 2", 'a,b\n1,X\n2,X\n'),
        ('a,b\n"1\n",甲\n2,"丙,"x,\n', "line 4: the quote of field 2", 'a,b\n"1\n",X\n2,X,"x,\n'),
        ("a,b\n1,甲\n2\n3,乙\n", "line 3: 1 fields, and none is number 2", "a,b\n1,X\n2\n3,X\n"),
        ("a,c\n1,甲\n", "there is no column 'b': the table has 'a', 'c'", "a,c\n1,甲\n"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_noted_and_the_rest_is_translated(
    text: str, note: str, result: str
) -> None:
    document = parse_csv(text, "zh", "en", columns=["b"])
    assert len(document.notes) == 1
    assert document.notes[0].startswith(note)
    assert copied(document) == text
    assert translated(document, **{s.text: "X" for s in document.segments}) == result


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"columns": []}, "no column to translate"),
        ({"columns": [0]}, "no column 0: they are counted from 1"),
        ({"columns": [1, 2], "into": ["a"]}, "2 columns to translate into 1 new ones"),
        ({"columns": ["a"], "header": False}, "a table without a header"),
        ({"columns": [1], "delimiter": "||"}, "must be one character"),
    ],
)
def test_arguments_that_cannot_be_used(options: dict, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        parse_csv("a,b\n", "zh", "en", **options)


def test_a_new_column_that_is_there_already() -> None:
    document = parse_csv("a,b\n甲,x\n", "zh", "en", columns=["a"], into=["b"])
    assert document.notes == ["there is a column 'b' already: name another new one"]
    assert copied(document) == "a,b\n甲,x\n"


CELLS = st.text(alphabet=st.sampled_from([*'甲乙。a"\n, ;\t1']), max_size=8)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=6),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_tables_as_the_csv_module_reads_them(
    table: list[list[str]], delimiter: str, quoting: int, end: str
) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerows(table)
    text = file.getvalue()
    document = parse_csv(
        text, "zh", "en", columns=[2], delimiter=delimiter, header=False, multiline=True
    )
    assert copied(document) == text
    assert not document.notes
    result = rows(translated(document), delimiter)
    before = rows(text, delimiter)
    assert [row[0] for row in result] == [row[0] for row in before]
    assert [row[1].replace(" ", "") for row in result] == [
        row[1].upper().replace(" ", "") for row in before
    ]


@settings(max_examples=200, deadline=None)
@given(
    st.text(alphabet=st.sampled_from([*'甲。a"\n\r,\t']), max_size=40),
    st.sampled_from([",", "\t"]),
)
def test_any_text_comes_back_as_it_was(text: str, delimiter: str) -> None:
    document = parse_csv(text, "zh", "en", columns=[1, 2], delimiter=delimiter)
    assert copied(document) == text
    records = iterate_csv(lines_of(text), "zh", "en", columns=[1, 2], delimiter=delimiter)
    parts = list(records)
    assert "".join(map(copied, parts)) == text
    assert [s.text for part in parts for s in part.segments] == [s.text for s in document.segments]
    assert "".join(map(translated, parts)) == translated(document)
    assert [note for part in parts for note in part.notes] == document.notes


@pytest.mark.parametrize("part", ['"甲,', '"甲\n', '"甲\n",', '""甲,', "甲,", '"', "\n", '甲",""'])
def test_hostile_tables_take_time_in_proportion(part: str) -> None:
    text = part * 5_000
    assert copied(parse_csv(text, "zh", "en", columns=[1])) == text


def test_records_come_as_lines_are_read() -> None:
    read = 0

    def lines():
        nonlocal read
        while True:  # a table without end
            read += 1
            yield f'{read},"甲"\n'

    records = iterate_csv(lines(), "zh", "en", columns=[2])
    assert [translated(next(records)) for _ in range(3)] == ['1,"甲"\n', '2,"甲"\n', '3,"甲"\n']
    assert read == 3


def test_tables_of_installed_packages_come_back_as_they_were() -> None:
    site = Path(np.__file__).parents[1]
    files = sorted([*site.rglob("*.csv"), *site.rglob("*.tsv")])
    for file in [file for file in files if file.stat().st_size < 20_000][:40]:
        text = file.read_bytes().decode("utf-8", "surrogateescape")
        delimiter = "\t" if file.suffix == ".tsv" else ","
        document = parse_csv(text, "en", "zh", columns=[1, 2], delimiter=delimiter)
        assert copied(document) == text, file


def test_what_is_translated_in_parts_is_noted() -> None:
    text = "1,甲\n2," + "很长的，" * 100 + "\n"
    note = "line 2: a sentence of 400 characters is translated in 3 parts"
    assert parse_csv(text, "zh", "en", columns=[2]).notes == [note]
    records = list(iterate_csv(lines_of(text), "zh", "en", columns=[2]))
    assert [record.notes for record in records] == [[], [note]]
