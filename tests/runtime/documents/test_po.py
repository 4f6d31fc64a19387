"""Untranslated entries of catalogues get translations, and all else stays."""

import random
from pathlib import Path

import pytest
from helpers.documents import Said, copied, translated
from helpers.needs import needs_module
from hypothesis import given, settings
from hypothesis import strategies as st

from tfm.runtime.documents.message_placeholders import PLACEHOLDERS
from tfm.runtime.documents.po import parse_po

polib = needs_module("polib")

HEADER = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n'
CHINESE = HEADER + '"Plural-Forms: nplurals=1; plural=0;\\n"\n\n'
ENGLISH = HEADER + '"Plural-Forms: nplurals=2; plural=(n != 1);\\n"\n\n'


def entry_of(text: str, msgid: str):
    return polib.pofile(text).find(msgid)


def test_only_what_is_untranslated_is_written() -> None:
    text = (
        "# team\n" + CHINESE + "# a comment\n#: a.c:1\n#, c-format\n#| msgid \"Old\"\n"
        'msgctxt "x"\n'
        'msgid "Hello. Bye."\nmsgstr ""\n\nmsgid "done"\nmsgstr "完成"\n\n#, fuzzy\nmsgid "Old"\n'
        'msgstr "旧"\n\nmsgid "12"\nmsgstr ""\n\n#~ msgid "gone"\n#~ msgstr ""\n'
    )  # fmt: skip
    document = parse_po(text, "en", "zh")
    assert [text[s.begin : s.end] for s in document.segments] == ["Hello.", "Bye."]
    assert copied(document) == text
    result = translated(document, **{"Hello.": "你好。", "Bye.": "再见。"})
    assert result == text.replace("#, c-format", "#, fuzzy, c-format").replace(
        'msgid "Hello. Bye."\nmsgstr ""', 'msgid "Hello. Bye."\nmsgstr "你好。再见。"'
    )
    assert not document.notes
    unflagged = parse_po(text, "en", "zh", flag=False)
    assert translated(unflagged).count("fuzzy") == 1


def test_fuzzy_and_obsolete_entries_by_option() -> None:
    text = '#, fuzzy\nmsgid "Old"\nmsgstr ""\n"旧"\n\n#~ msgid ""\n#~ "go"\n#~ "ne"\n#~ msgstr ""\n'
    assert not parse_po(text, "en", "zh").segments
    document = parse_po(text, "en", "zh", fuzzy=True, obsolete=True)
    assert copied(document) == text
    assert translated(document, Old="老", gone="走\n了") == (
        '#, fuzzy\nmsgid "Old"\nmsgstr "老"\n\n#, fuzzy\n#~ msgid ""\n#~ "go"\n#~ "ne"\n'
        '#~ msgstr ""\n#~ "走\\n"\n#~ "了"\n'
    )


def test_plural_forms_of_the_target() -> None:
    entry = 'msgid "One file"\nmsgid_plural "%d files"\nmsgstr[0] ""\nmsgstr[1] ""\n'
    chinese = parse_po(CHINESE + entry, "en", "zh")
    assert [s.text for s in chinese.segments] == ["%d files"]
    written = entry_of(translated(chinese, **{"%d files": "%d 个文件"}), "One file")
    assert written.msgstr_plural == {0: "%d 个文件"}  # another one makes msgfmt refuse the file
    said = {"One file": "Une", "%d files": "%d fichiers"}
    assert entry_of(
        translated(parse_po(ENGLISH + entry, "en", "fr"), **said), "One file"
    ).msgstr_plural == {0: "Une", 1: "%d fichiers"}
    without = entry.replace('msgstr[1] ""\n', "")
    slavic = (ENGLISH + without).replace("nplurals=2", "nplurals=3")
    assert entry_of(translated(parse_po(slavic, "en", "ru"), **said), "One file").msgstr_plural == {
        0: "Une",
        1: "%d fichiers",
        2: "%d fichiers",
    }
    # One form that stays the same is written too: an empty one would be shown.
    half = parse_po(ENGLISH + entry, "en", "fr")
    said["One file"] = "One file"
    assert entry_of(translated(half, **said), "One file").msgstr_plural == {
        0: "One file",
        1: "%d fichiers",
    }
    assert [s.text for s in parse_po(entry, "en", "zh").segments] == ["%d files"]


def test_escapes_and_lines_that_are_wrapped() -> None:
    words = "many words " * 20
    text = CHINESE + (f'msgid ""\n"A \\"quoted\\" line,\\n"\n"{words}"\n"\\ttab \\\\"\nmsgstr ""\n')
    text = text.replace("\n", "\r\n")
    document = parse_po(text, "en", "fr")
    assert copied(document) == text
    result = translated(document)
    written = polib.pofile(result.replace("\r\n", "\n"))[0]
    assert written.msgstr == written.msgid.upper()
    assert all(line.endswith("\r\n") for line in result.splitlines(keepends=True))
    assert max(map(len, result[result.index("msgstr", 200) :].splitlines())) <= 80
    assert parse_po('msgid "\\101\\x42\\v"\nmsgstr ""', "en", "fr").segments[0].text == "AB"


def test_lost_placeholders_leave_the_entry_untranslated() -> None:
    text = CHINESE + (
        'msgid "%s and %(name)s of {0} {name} <b>x</b> &amp; %1$d %2 %%"\nmsgstr ""\n\n'
        'msgid "Size: %d"\nmsgstr ""\n'
    )
    document = parse_po(text, "en", "zh")
    placeholders = ("%s", "%(name)s", "{0}", "{name}", "<b>", "</b>", "&amp;", "%1$d", "%2", "%%")
    assert document.segments[0].placeholders == placeholders
    result = document.assemble([Said("没有 {x}"), Said("大小：%d")])
    assert entry_of(result, "Size: %d").msgstr == "大小：%d"
    assert polib.pofile(result)[0].msgstr == ""
    assert document.notes == [
        "line 6: the translation lacks %s %(name)s {0} {name} <b> </b> &amp; %1$d %2 %% and has {x}"
        " too much: left untranslated"
    ]
    assert len(document.notes) == len(document.notes) and copied(document) == text
    assert not document.notes


@pytest.mark.parametrize(
    ("msgid", "said", "translation", "target", "msgstr"),
    [
        ("_Open File...", "Open File...", "打开文件...", "zh", "打开文件(_O)..."),
        ("E_xit", "Exit", "退出", "zh", "退出(_X)"),
        ("&File", "File", "Fichier", "fr", "&Fichier"),
        ("Save &As:", "Save As:", "Sauver sous:", "fr", "S&auver sous:"),
        ("文件(_F)...", "文件...", "File...", "en", "_File..."),
        ("_Edit %(e)s", "Edit %(e)s", "Bord %(e)s", "fr", "Bord %(e)s(_E)"),
        ("Q&A of file_name", "Q&A of file_name", "X", "fr", "X"),
        ("_a and _b", "_a and _b", "X", "fr", "X"),
        ("&amp; {_x}", "&amp; {_x}", "和 &amp; {_x}", "zh", "和 &amp; {_x}"),
    ],
)
def test_accelerators_move(
    msgid: str, said: str, translation: str, target: str, msgstr: str
) -> None:
    menus = 'msgid "_Menu"\nmsgstr "x"\n\nmsgid "&Menu"\nmsgstr "x"\n\n'
    document = parse_po(f'{menus}msgid "{msgid}"\nmsgstr ""\n', "en", target)
    assert "".join(s.text for s in document.segments) in said
    result = document.assemble([Said(translation), *[Said("") for _ in document.segments[1:]]])
    assert entry_of(result, msgid).msgstr == msgstr


def test_broken_entries_are_noted_and_the_rest_is_translated() -> None:
    good = 'msgid "good"\nmsgstr ""\n\n'
    bad = 'msgid "bad\nmsgstr ""\n\nmsgid "worse"\nmsgstr "\n"x"\n\nhello\n"stray"\n\n'
    text = good + bad + good.replace("good", "better") + 'msgid "no end'
    document = parse_po(text, "en", "zh")
    assert [s.text for s in document.segments] == ["good", "better"]
    assert document.notes == [
        "line 4: no line of a catalogue, the entry is left: 'msgid \"bad'",
        "line 8: no line of a catalogue, the entry is left: 'msgstr \"'",
        "line 11: no line of a catalogue, the entry is left: 'hello'",
        "line 17: no line of a catalogue, the entry is left: 'msgid \"no end'",
    ]
    assert copied(document) == text
    assert bad in translated(document)


TEXTS = st.text(alphabet=st.sampled_from([*'aZ 。."\\\n\t%s{}<>&_甲']), min_size=1, max_size=30)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(TEXTS, TEXTS, st.booleans()), max_size=5, unique_by=lambda e: e[0]),
    st.sampled_from([20, 78]),
    st.sampled_from(["zh", "en"]),
    st.integers(),
)
def test_catalogues_as_polib_reads_them(entries: list, width: int, target: str, seed: int) -> None:
    catalogue = polib.POFile(wrapwidth=width)
    catalogue.metadata = {"Content-Type": "text/plain; charset=UTF-8"}
    for msgid, plural, has_plural in entries:
        forms = {"msgid_plural": plural, "msgstr_plural": {0: "", 1: ""}} if has_plural else {}
        catalogue.append(polib.POEntry(msgid=msgid, comment="c", flags=["c-format"], **forms))
    text = str(catalogue)
    document = parse_po(text, "en", target)
    assert not document.notes
    assert copied(document) == text
    words = random.Random(seed)
    result = document.assemble(
        [
            Said(" ".join(words.sample(s.placeholders, len(s.placeholders))) + '甲 "\n\\')
            for s in document.segments
        ]
    )
    read = polib.pofile(result)
    assert [entry.msgid for entry in read] == [entry.msgid for entry in catalogue]
    for entry in read:
        for msgstr in filter(None, [entry.msgstr, *entry.msgstr_plural.values()]):
            origins = (entry.msgid, entry.msgid_plural)
            assert any(PLACEHOLDERS.are_kept(origin, msgstr) for origin in origins)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                'msgid "',
                'msgstr "',
                'msgid_plural "',
                'msgstr[1] "',
                '"',
                "\\",
                "#",
                "#~ ",
                "#, ",
                "\n",
                "\r\n",
                "a",
                "甲。",
                "fuzzy",
                "_F",
                "%s",
            ]
        ),
        max_size=40,
    ).map("".join)
)
def test_any_text_comes_back_as_it_was(text: str) -> None:
    document = parse_po(text, "en", "zh", fuzzy=True, obsolete=True)
    assert copied(document) == text
    translated(document)


@pytest.mark.parametrize(
    "part",
    ['msgid "a"\n', '"', '"a"', "\\", '"a"\n', "#,", "\n", "a_b ", "msgstr[1] ", "_a...", " "],
)
def test_hostile_catalogues_take_time_in_proportion(part: str) -> None:
    text = 'msgid "_F' + part * 10_000
    assert copied(parse_po(text, "en", "zh")) == text
    inside = part.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") * 10_000
    text = f'msgid "_F{inside}"\nmsgstr ""\n'
    document = parse_po(text, "en", "zh")
    assert copied(document) == text
    document.assemble([Said("F") for _ in document.segments])


def test_catalogues_of_this_machine_come_back_as_they_were() -> None:
    folder = Path("/usr/share/locale")
    files = sorted(folder.glob("*/LC_MESSAGES/*.mo"), key=lambda file: file.stat().st_size)
    for file in files[::40][:25]:
        catalogue = polib.mofile(str(file))
        for entry in catalogue:
            entry.msgstr, entry.msgstr_plural = "", dict.fromkeys(entry.msgstr_plural, "")
        text = catalogue.__unicode__()
        assert copied(parse_po(text, "en", "zh")) == text, file
