"""Tags are put back at the words that they marked, nested as before, and all else stays."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers.documents import Said, said
from hypothesis import given, settings
from hypothesis import strategies as st

from tfm.runtime.documents import Segment, parse_html


def test_a_tag_moves_with_its_word() -> None:
    document = parse_html("<p>我昨天<b>在北京</b>见到他。</p>", "zh", "en")
    assert document.segments == (Segment("我昨天在北京见到他。", 3, 20, True),)
    moved = said(
        "我昨天在北京见到他。",
        ("Yesterday", "昨天"), (" I", "我"), (" met", "见到"), (" him", "他"), (" in", "在"),
        (" Beijing", "北京"), (".", "。"),
    )  # fmt: skip
    assert document.assemble([moved]) == "<p>Yesterday I met him <b>in Beijing</b>.</p>"


def test_order_changes_and_nesting_stays() -> None:
    document = parse_html("<i>甲<b>乙</b></i>丙<a href=x>丁</a>", "zh", "en")
    translation = said("甲乙丙丁", ("four", "丁"), (" three", "丙"), (" two", "乙"), (" one", "甲"))
    assert document.assemble([translation]) == "<a href=x>four</a> three <i><b>two</b> one</i>"


def test_crossing_words_never_cross_tags() -> None:
    document = parse_html("<i>甲乙</i><b>丙丁</b>", "zh", "en")
    translation = said("甲乙丙丁", ("1", "甲"), (" 3", "丙"), (" 2", "乙"), (" 4", "丁"))
    result = document.assemble([translation])
    assert well_formed(result)
    assert text_of(result) == "1 3 2 4"


def test_an_element_whose_words_were_dropped_holds_a_neighbour() -> None:
    document = parse_html("我<b>真的</b>爱你。", "zh", "en")
    translation = said("我真的爱你。", ("I", "我"), (" love", "爱"), (" you", "你"), (".", "。"))
    assert document.assemble([translation]) == "I <b>love</b> you."


def test_an_element_over_two_sentences() -> None:
    document = parse_html("我<b>爱你。他</b>走。", "zh", "en")
    first = said("我爱你。", ("I", "我"), (" love", "爱"), (" you", "你"), (".", "。"))
    second = said("他走。", ("He", "他"), (" goes", "走"), (".", "。"))
    assert document.assemble([first, second]) == "I <b>love you. He</b> goes."


def test_without_alignment_an_element_holds_the_sentence() -> None:
    document = parse_html("我<b>爱</b>你。<i>好。</i>", "zh", "en")
    assert (
        document.assemble([Said("I love you."), Said("Good.")]) == "<b>I love you.</b> <i>Good.</i>"
    )


def test_code_stays_where_it_is_said_and_apart_from_words() -> None:
    document = parse_html("请用<code>foo(<b>x</b>)</code>函数。", "zh", "en")
    assert document.segments[0].text == "请用foo(x)函数。"
    assert (
        document.assemble([Said("Use thefoo(x)function &c.")])
        == "Use the <code>foo(<b>x</b>)</code>function &amp;c."
    )


def test_what_is_not_text_stays() -> None:
    text = (
        "<!DOCTYPE html><style>p{content:'你好。'}</style><script>let 你 = '<p>好。'</script>"
        '<!-- 你好。 --><pre>你好。</pre><p translate="no">你好。</p><svg><text>你好</text></svg>'
        "<p class='x notranslate'>你<b>好</b></p><code>你好</code><p>12:30 😀</p>"
        "<template>你</template>"
    )
    document = parse_html(text, "zh", "en")
    assert document.segments == ()
    assert document.assemble([]) == text


def test_texts_in_tags_are_translated() -> None:
    document = parse_html(
        "<meta name=description content='你好'>"
        "<p title=\"再见\">我<img alt='猫' src='猫.png'>们</p>"
        "<input value='值' placeholder='名字'>",
        "zh",
        "en",
    )
    assert [segment.text for segment in document.segments] == ["你好", "再见", "猫", "名字", "我们"]
    said_all = [Said('A "b"'), Said("Bye"), Said("Cat"), Said("Name"), Said("We")]
    assert document.assemble(said_all) == (
        "<meta name=description content='A &quot;b&quot;'><p title=\"Bye\">"
        "We<img alt='Cat' src='猫.png'></p><input value='值' placeholder='Name'>"
    )


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("<td>甲</td><td>乙</td>", ["甲", "乙"]),
        ("甲<br>乙<hr/>丙", ["甲", "乙", "丙"]),
        ("<ul><li>甲<li>乙</ul>丙", ["甲", "乙", "丙"]),
        ("甲 &amp; 乙&nbsp;&#20013;&notanentity; &copy", ["甲 & 乙\xa0中&notanentity; ©"]),
        ("甲 < 乙 > 丙 <3", ["甲 < 乙 > 丙 <3"]),
        ("<title>甲 <b></title>乙", ["甲 <b>", "乙"]),
        ("<p>甲\n   乙\n<b>丙</b> a\nb 丁</p>", ["甲乙丙 a b 丁"]),
        ("<x-y a='>'>甲</x-y>乙", ["甲乙"]),
        ("<p>甲", ["甲"]),
        ('<a href="x>甲', ["甲"]),
        ("<!-- 甲", ["<!-- 甲"]),
    ],
)
def test_which_texts_are_sentences(text: str, sentences: list[str]) -> None:
    document = parse_html(text, "zh", "en")
    assert [segment.text for segment in document.segments] == sentences
    assert document.assemble([Said(sentence) for sentence in sentences]) == text


TAGS = [
    "<b>",
    "</b>",
    "<i x='y'>",
    "</i>",
    "<p>",
    "</p>",
    "<br>",
    "<img alt='猫'>",
    "<code>",
    "</code>",
]
PIECES = [
    *TAGS,
    "你好",
    "。",
    "abc",
    " ",
    "\n",
    "&lt;",
    "&",
    "<",
    ">",
    '"',
    "<!--",
    "-->",
    "</",
    "<a href='",
]


@settings(max_examples=600)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_untranslated_html_is_as_it_was(text: str) -> None:
    document = parse_html(text, "zh", "en")
    assert document.assemble([Said(segment.text) for segment in document.segments]) == text


@settings(max_examples=600)
@given(
    st.lists(st.sampled_from([*TAGS[:4], "<u>", "</u>", "甲乙。", "丙", "丁，"]), max_size=30),
    st.randoms(use_true_random=False),
)
def test_every_tag_is_kept_and_what_was_well_formed_still_is(pieces: list[str], random) -> None:
    text = "<p>" + "".join(pieces) + "</p>"
    document = parse_html(text, "zh", "en")
    translations = []
    for segment in document.segments:
        characters = list(dict.fromkeys(segment.text))
        random.shuffle(characters)
        words = [(f" w{number}", char) for number, char in enumerate(characters)]
        translations.append(said(segment.text, *words))
    result = document.assemble(translations)
    assert Counter(re.findall(r"<[^>]*>", result)) == Counter(re.findall(r"<[^>]*>", text))
    assert well_formed(result) or not well_formed(text)
    words_in = Counter(word for said_ in translations for word in said_.text.split())
    assert Counter(re.sub(r"<[^>]*>", "", result).replace("w", " w").split()) >= words_in


@pytest.mark.parametrize(
    "part",
    [
        "<b>",
        "<b",
        "<!--",
        '<b x="',
        "&amp;",
        "<script>",
        "<code>a",
        "甲<b>乙</b>",
        "<p>甲",
        "</b>",
        "<a '",
    ],
)
def test_hostile_html_takes_time_in_proportion(part: str) -> None:
    text = part * 20_000  # with quadratic work minutes
    document = parse_html(text, "zh", "en")
    assert document.assemble([Said(segment.text) for segment in document.segments]) == text
    document.assemble([Said("x") for _ in document.segments])


def test_html_files_of_installed_packages_come_back_as_they_were() -> None:
    files = sorted(Path(np.__file__).parents[1].rglob("*.html"))[:100]
    for file in files:
        text = file.read_text(encoding="utf-8", errors="replace")
        document = parse_html(text, "en", "zh")
        assert document.assemble([Said(segment.text) for segment in document.segments]) == text


class _Nesting(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.crossed = False

    def handle_starttag(self, tag: str, _attributes: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.crossed |= not self.open or self.open.pop() != tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(text: str) -> _Nesting:
    parser = _Nesting()
    parser.feed(text)
    parser.close()
    return parser


def well_formed(text: str) -> bool:
    parser = parsed(text)
    return not parser.crossed and not parser.open


def text_of(text: str) -> str:
    return parsed(text).text
