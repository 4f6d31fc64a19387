"""Sources without a target get one, with their inline elements, and all else stays."""

import random
from collections import Counter

import pytest
from helpers.documents import Said, copied, shuffled, shuffled_all, translated
from helpers.needs import needs_module
from hypothesis import given, settings
from hypothesis import strategies as st

from tfm.runtime.documents.xliff import parse_xliff

etree = needs_module("lxml.etree")

FIRST = (
    '<?xml version="1.0"?>\n<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">\n'
    '<file source-language="en" target-language="zh" datatype="x" original="a"><body>\n'
)
FIRST_END = "\n</body></file></xliff>\n"
SECOND = (
    '<xliff xmlns="urn:oasis:names:tc:xliff:document:2.0" version="2.0" srcLang="en" trgLang="zh">'
    '\n<file id="f"><unit id="u">\n'
)
SECOND_END = "\n</unit></file></xliff>\n"
MT = 'state="needs-review-translation" state-qualifier="mt-suggestion"'


def first(units: str, target: str = "zh"):
    return parse_xliff(FIRST + units + FIRST_END, "en", target)


def test_targets_are_made_and_filled() -> None:
    units = (
        '<trans-unit id="1">\n  <source xml:lang="en">Hello. Bye.</source>\n  <note>Note</note>'
        '</trans-unit>\n<trans-unit id="2"><source>One</source><target/></trans-unit>'
        '<trans-unit id="3"><source>Two</source><target state="new" >\n</target></trans-unit>'
        '<trans-unit id="4"><source>Six</source><target state="new">Six</target></trans-unit>'
    )
    document = first(units)
    assert copied(document) == document.text
    assert [document.text[s.begin : s.end] for s in document.segments[:2]] == ["Hello.", "Bye."]
    result = translated(document, **{"Hello.": "你好。", "Bye.": "再见 <&。"}, One="一", Two="二")
    assert result == FIRST + (
        '<trans-unit id="1">\n  <source xml:lang="en">Hello. Bye.</source>\n'
        f'  <target xml:lang="zh" {MT}>你好。再见 &lt;&amp;。</target>\n  <note>Note</note>'
        "</trans-unit>\n"
        f'<trans-unit id="2"><source>One</source><target {MT}>一</target></trans-unit>'
        f'<trans-unit id="3"><source>Two</source><target {MT} >二</target></trans-unit>'
        f'<trans-unit id="4"><source>Six</source><target {MT}>SIX</target></trans-unit>'
    ) + FIRST_END  # fmt: skip


@pytest.mark.parametrize(
    "unit",
    [
        '<trans-unit id="1" translate="no"><source>One</source></trans-unit>',
        '<group translate="no"><trans-unit id="1"><source>One</source></trans-unit></group>',
        '<trans-unit id="1" approved="yes"><source>One</source><target/></trans-unit>',
        '<trans-unit id="1"><source>One</source><target state="final"/></trans-unit>',
        '<trans-unit id="1"><source>One</source><target>Eins</target></trans-unit>',
        '<trans-unit id="1"><source>One</source><target>One</target></trans-unit>',
        '<trans-unit id="1"><source><g id="1"/> 12</source></trans-unit>',
        '<trans-unit id="1"><note>One</note></trans-unit>',
        '<bin-unit id="1"><bin-source>One</bin-source></bin-unit>',
        '<trans-unit id="1"><source>1</source><alt-trans><source>One</source></alt-trans>'
        "</trans-unit>",
    ],
)
def test_what_is_done_or_not_to_do_is_left(unit: str) -> None:
    assert not first(unit).segments


def test_inline_elements_move_with_their_words() -> None:
    source = (
        'Press <g id="1" ctype="bold">the <x id="2"/>key</g> <bpt id="3">&lt;i></bpt>now'
        '<ept id="3">&lt;/i></ept>, <mrk mtype="protected">Ada</mrk> <ph id="4">{x}</ph>&lt;.'
    )
    document = first(f'<trans-unit id="1"><source>{source}</source></trans-unit>')
    assert [s.text for s in document.segments] == ["Press the key now, Ada <."]
    assert document.segments[0].marks
    result = shuffled_all(document)
    unit = etree.fromstring(result.encode()).find(".//{*}trans-unit")
    tags = [
        [(child.tag, dict(child.attrib), child.text if "pt" in child.tag else "") for child in part]
        for part in unit
    ]
    assert sorted(map(str, tags[0])) == sorted(map(str, tags[1]))
    assert unit[1].find(".//{*}g/{*}x") is not None


def test_segments_of_a_source_stay_segments() -> None:
    unit = (
        '<trans-unit id="1"><source>One. Two.</source><seg-source><mrk mtype="seg" mid="0">One.'
        '</mrk> <mrk mtype="seg" mid="1">Two</mrk></seg-source></trans-unit>'
    )
    document = first(unit)
    assert [s.text for s in document.segments] == ["One.", "Two"]
    assert translated(document, **{"One.": "一。"}, Two="二").count(
        f'</seg-source><target {MT}><mrk mtype="seg" mid="0">一。</mrk> <mrk mtype="seg" mid="1">二'
        "</mrk></target></trans-unit>"
    ) == 1  # fmt: skip


def test_the_second_version() -> None:
    units = (
        '<notes><note id="n">Note</note></notes>\n'
        '<originalData><data id="d">Data</data></originalData>'
        '<segment id="1">\n  <source>Use <pc id="1">this</pc> <sc id="2"/>now<ec startRef="2"/> '
        '<ph id="3"/><cp hex="0001"/>.</source></segment><ignorable><source> x</source></ignorable>'
        '<segment state="final"><source>Final</source></segment>'
        '<segment state="initial"><source>One</source><target>One</target></segment>'
    )
    document = parse_xliff(SECOND + units + SECOND_END, "en", "zh")
    assert [s.text for s in document.segments] == ["Use this now .", "One"]
    assert copied(document) == document.text
    result = shuffled_all(document)
    tree = etree.fromstring(result.encode())
    assert [s.get("state") for s in tree.iterfind(".//{*}segment")] == [
        "translated", "final", "translated",
    ]  # fmt: skip
    target = tree.find(".//{*}segment/{*}target")
    assert Counter(child.tag.rpartition("}")[2] for child in target) == Counter(
        ["pc", "sc", "ec", "ph", "cp"]
    )
    names = [child.tag.rpartition("}")[2] for child in target]
    assert names.index("sc") < names.index("ec")


def test_the_target_language_is_named_once() -> None:
    text = (FIRST + FIRST_END).replace(' target-language="zh"', "")
    unit = '<trans-unit id="1"><source>{}</source></trans-unit>'
    text = text.replace("<body>", "<body>" + unit.format("One") + unit.format("Two"))
    result = translated(parse_xliff(text, "en", "zh"))
    assert result.count('original="a" target-language="zh">') == 1
    assert first("", "de").notes == ["line 3: the file is for 'zh', and not for 'de'"]


def test_lines_stay_where_white_space_means_something() -> None:
    unit = '<trans-unit id="1"{}><source>One\n  two</source></trans-unit>'
    assert [s.text for s in first(unit.format("")).segments] == ["One two"]
    document = first(unit.format(' xml:space="preserve"'))
    assert [s.text for s in document.segments] == ["One", "two"]
    assert f"<target {MT}>ONE\n  TWO</target>" in translated(document)


def test_cdata_and_entities() -> None:
    unit = '<trans-unit id="1"><source><![CDATA[A <b> &]]> &#66;&foo;</source></trans-unit>'
    document = first(unit)
    assert [s.text for s in document.segments] == ["A <b> & B"]
    result = document.assemble([Said("<b> x\x00")])
    assert f"<target {MT}>&lt;b&gt; x&foo;</target>" in result


def test_lost_placeholders_leave_the_unit_untranslated() -> None:
    unit = '<trans-unit id="1"><source>Open %s.</source></trans-unit>'
    document = first(unit)
    assert document.segments[0].placeholders == ("%s",)
    assert document.assemble([Said("打开。")]) == document.text
    assert document.notes == ["line 4: the translation lacks %s: left untranslated"]


def test_broken_files_are_noted_and_the_rest_is_translated() -> None:
    unit = '<trans-unit id="1"><source>One</source></trans-unit>\n'
    crossed = unit.replace("One", "<g><b>One</g></b>")
    text = FIRST + unit + crossed + unit + unit.replace("</source>", "")
    document = parse_xliff(text, "en", "zh")
    assert len(document.segments) == 2
    assert [note.partition(":")[0] for note in document.notes] == ["line 5", "line 7", "line 3"]
    assert copied(document) == text
    assert translated(document).count("ONE") == 2
    cut = (FIRST + unit * 3)[:-30]
    document = parse_xliff(cut, "en", "zh")
    assert len(document.segments) == 2 and len(document.notes) == 1
    assert translated(document).count("ONE") == 2


PIECES = ["<g id='1'>", "</g>", "<x id='2'/>", "<mrk mtype='x'>", "</mrk>", "<bx id='1'/>"]
PIECES += ["<ex id='1'/>", "<bpt id='4'>c</bpt>", "<ept id='4'>c</ept>", "<sub>s</sub>"]
STRUCTURE = ["<trans-unit>", "</trans-unit>", "<source>", "</source>", "<target>", "</target>"]
STRUCTURE += ["<target/>", "<file>", "</file>"]
HOSTILE = ["<trans-unit><source>", "<a>", "</a>", "<a ", '"', "&", "<![CDATA[", "甲<g>乙</g>"]
HOSTILE += ["<trans-unit><source>甲</source></trans-unit>", "\n", " a='b'", "</source>"]
TEXTS = ["甲乙", "。", "ab ", "&lt;", "&amp;", " ", "丙，"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*PIECES, *TEXTS]), max_size=25).map("".join))
def test_targets_are_well_formed_with_all_elements(source: str) -> None:
    unit = f'<trans-unit id="1"><source>{source}</source></trans-unit>'
    document = first(unit)
    assert copied(document) == document.text
    result = shuffled_all(document)
    try:
        etree.fromstring(document.text.encode())
    except etree.XMLSyntaxError:
        return
    assert not document.notes
    parts = etree.fromstring(result.encode()).find(".//{*}trans-unit")
    if len(parts) > 1:
        before, after = ([child.tag for child in part.iter()][1:] for part in parts)
        assert Counter(before) == Counter(after)
        for begin, end in (("bx", "ex"), ("bpt", "ept")):
            order = [tag.rpartition("}")[2] for tag in after]
            assert order.count(begin) == source.count(f"<{begin} ")
            assert order.count(end) == source.count(f"<{end} ")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([*STRUCTURE, *PIECES, *TEXTS, "<", ">", "<!--", "-->", "'"]),
        max_size=40,
    ).map("".join)
)
def test_any_text_comes_back_as_it_was(text: str) -> None:
    document = parse_xliff(text, "en", "zh")
    assert copied(document) == text
    shuffled_all(document)


@pytest.mark.parametrize("part", [*PIECES, *HOSTILE])
def test_hostile_files_take_time_in_proportion(part: str) -> None:
    unit = f'<trans-unit id="1"><source>甲{part * 5_000}</source></trans-unit>'
    document = first(unit)
    assert copied(document) == document.text
    document.assemble([Said("x") for _ in document.segments])


def test_files_of_translate_toolkit() -> None:
    xliff = needs_module("translate.storage.xliff")
    store = xliff.xlifffile(sourcelanguage="en", targetlanguage="zh")
    words = random.Random(1)
    for number in range(200):
        text = " ".join(words.choices(["alpha", "<b>", "&", "beta.", "%s", '"'], k=8)) + str(number)
        unit = store.addsourceunit(text)
        if number % 5 == 0:
            unit.target = f"目标{number}"
    text = bytes(store).decode()
    document = parse_xliff(text, "en", "zh")
    assert copied(document) == text
    result = document.assemble(
        [Said("译文 " + " ".join(segment.placeholders)) for segment in document.segments]
    )
    read = xliff.xlifffile.parsestring(result.encode())
    assert [unit.source for unit in read.units] == [unit.source for unit in store.units]
    assert all(unit.target for unit in read.units)
    assert [unit.target for unit in read.units][::5] == [unit.target for unit in store.units][::5]


@pytest.mark.parametrize(
    "source",
    [
        '甲<bx id="1"/>乙<g id="2">丙<ex id="1"/>丁</g>戊',
        "甲" + "<g id='1'><mrk mtype='x'>" * 60 + "乙丙" + "</mrk></g>" * 60 + "丁",
    ],
)
def test_elements_that_cross_or_are_deep_stay_well_formed(source: str) -> None:
    document = first(f'<trans-unit id="1"><source>{source}</source></trans-unit>')
    for seed in range(10):
        result = document.assemble([shuffled(s.text, seed) for s in document.segments])
        etree.fromstring(result.encode())
        assert (result == document.text) == bool(document.notes)
