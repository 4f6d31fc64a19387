"""What is not text stays as it was, and markdown-it-py finds the same structure afterwards."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.documents import Said, said
from helpers.needs import needs_module
from hypothesis import given, settings
from hypothesis import strategies as st

from tfm.runtime.documents.markdown import parse_markdown

markdown_it = needs_module("markdown_it")


def translated(text: str, say: Callable[[str], str]) -> str:
    document = parse_markdown(text, "zh", "en")
    return document.assemble([Said(say(segment.text)) for segment in document.segments])


def structure(text: str) -> Counter:
    reader = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"])
    counts: Counter = Counter()
    for token in reader.parse(text):
        counts[token.type, token.tag] += 1
        for child in token.children or []:
            if child.type not in ("text", "text_special", "softbreak"):
                counts[child.type, child.attrGet("href") or child.attrGet("src")] += 1
    return counts


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("# 标题\n\n你好。\n再见。", ["标题", "你好。", "再见。"]),
        ("标题\n===\n", ["标题"]),
        ("- 一\n- 二\n  三\n1. 四\n", ["一", "二三", "四"]),
        ("> 引\n> 用\n", ["引用"]),
        ("| 名 | 城 \\| 市 |\n|---|---|\n| `x` | 北 |\n", ["名", "城 | 市", "北"]),
        ("```\n代码\n```\n\n    代码\n", []),
        ("---\ntitle: 你好\n---\n你好\n", ["你好"]),
        ("[a]: http://x '标题'\n", []),
        ("<!-- 注 -->\n\n<p>你好，<b>他</b>。</p>\n", ["你好，他。"]),
        ("看 https://a.b/你 和 $x+y$ 吧 {#id}", ["看 https://a.b/你 和 $x+y$ 吧 {#id}"]),
        ('![猫](x.png "t") 你好', ["你好", "猫"]),
        ("- [ ] 一\n- [x]  **二**\n1. [X] 三", ["一", "二", "三"]),
        ("- [x]一\n\n[ ] 二", ["[x]一", "[ ] 二"]),
        ("你\\*好\\* &amp; 我", ["你*好* & 我"]),
        ("你好  \n再见\\\n**走\n吧**", ["你好", "再见", "走吧"]),
    ],
)
def test_which_texts_are_sentences(text: str, sentences: list[str]) -> None:
    document = parse_markdown(text, "zh", "en")
    assert [segment.text.strip() for segment in document.segments] == sentences
    assert document.notes == ()
    assert translated(text, str) == text


def test_markup_stays_around_its_words() -> None:
    assert (
        translated(
            '**你好。**[再见。](http://a.b/x_(1) "标") `f(x)` 吧。',
            {"你好。": "Hello.", "再见。": "Bye.", "f(x) 吧。": "Do f(x)."}.__getitem__,
        )
        == '**Hello.** [Bye.](http://a.b/x_(1) "标") Do `f(x)`.'
    )


@pytest.mark.parametrize("mark", ["**", "*", "~~", "_", "__"])
def test_emphasis_stays_between_ideographs(mark: str) -> None:
    text = f"You {mark}must, please,{mark} go."
    document = parse_markdown(text, "en", "zh")
    words = ("你", "You"), ("（请）一定", "must, please,"), ("去。", "go.")
    result = document.assemble([said(document.segments[0].text, *words)])
    behind = " " if "_" in mark else ""
    assert result == f"你 {mark}（请）一定{mark}{behind}去。"
    assert structure(result) == structure(text)
    words = ("你", "You"), ("一定", "must, please,"), ("去。", "go.")
    result = document.assemble([said(document.segments[0].text, *words)])
    assert structure(result) == structure(text)
    words = ("你", "You"), ("一定！", "must, please,"), ("去。", "go.")
    result = document.assemble([said(document.segments[0].text, *words)])
    assert structure(result) == structure(text)


def test_a_link_that_is_its_own_label_stays() -> None:
    text = "看[这里]和那[这里][]。\n\n[这里]: http://x\n"
    result = translated(text, lambda _: "See 这里 and that 这里.")
    assert structure(result) == structure(text)
    assert "See [这里] and that [这里][]." in result


def test_words_do_not_become_markup() -> None:
    for words in (
        "* a",
        "# a",
        "1. a",
        "- a",
        "> a",
        "a *b* _c_ `d` <e> [f](g) \\* ~~h~~ __i__",
        "===",
    ):
        assert structure(translated("你好。", lambda _, words=words: words)) == structure("你好。")
        result = translated("| 甲 | 乙 |\n|--|--|\n", lambda _: "a | b")
        assert structure(result) == structure("| 甲 | 乙 |\n|--|--|\n")


@pytest.mark.parametrize(
    ("text", "words", "rendered"),
    [
        ("你好。", "Use &lt; and &#42; for AT&T.", "Use &amp;lt; and &amp;#42; for AT&amp;T."),
        ("**你好\\\\**", "C:\\", "<strong>C:\\</strong>"),
        ("他来了。\n——是的。", "- Yes.", "- Yes.\n- Yes."),
        ("他来了。\n——是的。", "1. Yes", "1. Yes\n1. Yes"),
    ],
)
def test_words_are_read_as_they_are(text: str, words: str, rendered: str) -> None:
    result = translated(text, lambda _: words)
    assert markdown_it.MarkdownIt().render(result) == f"<p>{rendered}</p>\n"


def test_links_do_not_become_images() -> None:
    text = "看！[这里](x)[那里](y)。\n"
    document = parse_markdown(text, "zh", "en")
    result = document.assemble([Said("Look!"), Said("Here!")])
    assert structure(result) == structure(text), result
    joined = parse_markdown("看这里[甲](x)。\n", "zh", "en")
    words = ("Look!", "看这里"), ("A", "甲"), (".", "。")
    result = joined.assemble([said("看这里甲。", *words)])
    assert result == "Look\\![A](x).\n"


def test_words_stay_where_there_is_no_alignment() -> None:
    text = "[a]: b\n\n看![a]见[a]了。\n"
    result = translated(text, lambda _: "some words")
    assert "some words" in result and structure(result) == structure(text)


PIECES = [
    *"*_`[]()<>!#-+\\|~&$:>",
    "\n",
    "\n\n",
    "    ",
    "你好",
    "。",
    "abc",
    " ",
    "**",
    "```\n",
    "&amp;",
]
PIECES += [
    "http://a.b",
    "| a | b |\n|---|---|\n| c | d |\n",
    "> ",
    "1. ",
    "](x)",
    "![",
    "[a]: b\n",
    "<b>",
    "</b>",
]


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_untranslated_markdown_is_as_it_was(text: str) -> None:
    assert translated(text, str) == text


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_every_link_and_code_is_there_after_translation(text: str) -> None:
    document = parse_markdown(text, "zh", "en")
    result = document.assemble([Said("some words") for _ in document.segments])
    kinds = ("link_open", "image", "code_inline", "fence", "code_block", "heading_open")

    def of(counts: Counter) -> Counter:
        return Counter({key: count for key, count in counts.items() if key[0] in kinds})

    assert of(structure(result)) == of(structure(text))


def test_files_of_installed_packages_come_back_as_they_were() -> None:
    files = sorted(Path(pytest.__file__).parents[1].rglob("*.md"))[:150]
    assert files
    for file in files:
        text = file.read_bytes().decode("utf-8", errors="replace")
        document = parse_markdown(text, "en", "zh")
        assert document.assemble([Said(segment.text) for segment in document.segments]) == text
        assert document.notes == ()
        upper = document.assemble([Said(segment.text + " x") for segment in document.segments])
        # Without alignment emphasis within emphasis holds the same words.
        left_out = {"html_block", "em_open", "em_close", "strong_open", "strong_close"}
        before, after = (
            {key: count for key, count in structure(page).items() if key[0] not in left_out}
            for page in (text, upper)
        )
        assert before == after, file


@pytest.mark.parametrize("part", ["*a ", "[", "`", "![", "<", "> ", "你好。\n", "| a ", "**你**"])
def test_hostile_markdown_takes_time_in_proportion(part: str) -> None:
    assert translated(part * 2000, str) == part * 2000
