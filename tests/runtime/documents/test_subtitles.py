"""Numbers, times and settings stay; what is said is translated, and shared out over its cues."""

import re
from collections.abc import Callable

import pytest
from helpers.documents import Said
from helpers.needs import needs_module
from hypothesis import given, settings
from hypothesis import strategies as st

from tfm.runtime.documents.line_breaks import break_lines, columns, share_out
from tfm.runtime.documents.subtitles import parse_subtitles

SRT = """1
00:00:01,000 --> 00:00:03,000
我昨天在火车站
看见了一个老朋友，

2
00:00:03,100 --> 00:00:05,000
他说他要走。

3
00:00:06,000 --> 00:00:07,000 X1:1
<i>你好！再见。</i>

4
00:00:09,000 --> 00:00:10,000
- 你来吗？
- 我不来。
"""


def translated(text: str, say: Callable[[str], str], target: str = "en") -> str:
    document = parse_subtitles(text, "zh", target)
    return document.assemble([Said(say(segment.text)) for segment in document.segments])


def test_a_sentence_over_two_cues_is_one_and_is_shared_out() -> None:
    document = parse_subtitles(SRT, "zh", "en")
    assert [segment.text for segment in document.segments] == [
        "我昨天在火车站看见了一个老朋友，他说他要走。",
        "你好！",
        "再见。",
        "你来吗？",
        "我不来。",
    ]
    english = [
        "At the station I met an old friend yesterday, he said he would be leaving soon.",
        "Hello!",
        "Bye.",
        "Coming?",
        "No.",
    ]
    result = document.assemble([Said(text) for text in english])
    assert result == (
        "1\n00:00:01,000 --> 00:00:03,000\nAt the station I met\nan old friend yesterday,\n\n"
        "2\n00:00:03,100 --> 00:00:05,000\nhe said he would be leaving soon.\n\n"
        "3\n00:00:06,000 --> 00:00:07,000 X1:1\n<i>Hello! Bye.</i>\n\n"
        "4\n00:00:09,000 --> 00:00:10,000\n- Coming?\n- No.\n"
    )


def test_tags_within_a_cue_stay_at_their_words() -> None:
    vtt = (
        "WEBVTT\n\nNOTE 你好。\n\nname\n00:01.000 --> 00:02.000 line:0\n<v 王>我<i>爱</i>你。</v>\n"
    )
    document = parse_subtitles(vtt, "zh", "en")
    assert [(segment.text, segment.marks) for segment in document.segments] == [("我爱你。", True)]
    assert document.assemble([Said("I love you.")]) == vtt.replace(
        "我<i>爱</i>你。", "<i>I love you.</i>"
    )


@pytest.mark.parametrize(
    ("cue", "said", "expected"),
    [
        ("<i>电话响了。</i> 喂？", ["It rang.", "Hello?"], "<i>It rang.</i> Hello?"),
        ("<i>电话响了。</i><b>喂？</b>", ["It rang.", "Hello?"], "<i>It rang.</i> <b>Hello?</b>"),
        ("准备好了吗？3！2！1！出发！", ["Ready?", "Go!"], "Ready? 3！2！1！ Go!"),
        ("我赢了。 100%! 好。", ["I won.", "Good."], "I won. 100%! Good."),
        ("<v 王>来。</v> <v 李>好。</v>", ["Come.", "Yes."], "<v 王>Come.</v> <v 李>Yes.</v>"),
    ],
)
def test_what_is_between_two_sentences_stays(cue: str, said: list[str], expected: str) -> None:
    head = "1\n00:00:01,000 --> 00:00:02,000\n"
    document = parse_subtitles(f"{head}{cue}\n", "zh", "en")
    assert document.assemble([Said(text) for text in said]) == f"{head}{expected}\n"


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_cues_without_a_blank_line_between_keep_their_numbers(line_end: str) -> None:
    cue = "{}\n00:00:0{},000 --> 00:00:0{},000\n{}\n"
    text = cue.format(3, 1, 2, "我们明天去\n2024") + cue.format(4, 7, 8, "然后回家")
    document = parse_subtitles(text.replace("\n", line_end), "zh", "en")
    assert [segment.text for segment in document.segments] == ["我们明天去2024", "然后回家"]
    result = document.assemble([Said("Tomorrow"), Said("Then home")])
    expected = cue.format(3, 1, 2, "Tomorrow") + cue.format(4, 7, 8, "Then home")
    assert result == expected.replace("\n", line_end)


@pytest.mark.parametrize("gap", ["00:00:09,000", "00:00:03,100"])
def test_sentences_go_on_only_where_little_time_is_between(gap: str) -> None:
    document = parse_subtitles(SRT.replace("00:00:03,100", gap), "zh", "en")
    assert len(document.segments) == (6 if gap == "00:00:09,000" else 5)


def test_cues_without_full_stops_are_sentences() -> None:
    text = "1\n0:00:01.0 --> 0:00:02.0\n你好\n\n2\n0:00:02.0 --> 0:00:03.0\n我走了\n"
    document = parse_subtitles(text, "zh", "en")
    assert [segment.text for segment in document.segments] == ["你好", "我走了"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_other_programs_find_the_same_cues(line_end: str) -> None:
    pysubs2 = needs_module("pysubs2")
    text = SRT.replace("\n", line_end)
    result = translated(text, lambda sentence: "word " * len(sentence))
    before, after = (pysubs2.SSAFile.from_string(t, "srt") for t in (text, result))
    assert [(line.start, line.end) for line in before] == [(line.start, line.end) for line in after]
    assert all(line.text.strip() for line in after)
    assert all(
        columns(re.sub(r"<[^>]*>|\{[^}]*\}", "", part)) <= 42
        for line in after
        for part in line.text.split("\\N")
    )
    assert result.count(line_end) == result.count("\n")


def test_webvtt_stays_valid() -> None:
    webvtt = needs_module("webvtt")
    text = "WEBVTT - x\n\nSTYLE\n::cue { color: red }\n\n" + SRT.replace(",000", ".000").replace(
        ",100", ".100"
    )
    result = translated(text, str.upper)
    before, after = (list(webvtt.from_string(t)) for t in (text, result))
    assert [(c.start, c.end, c.identifier) for c in before] == [
        (c.start, c.end, c.identifier) for c in after
    ]


def test_what_is_broken_stays_and_is_noted() -> None:
    text = "1\n00:00:01 --> 00:00:02\n坏。\n\n2\n00:00:03,000 --> 00:00:04,000\n好。\n"
    document = parse_subtitles(text, "zh", "en")
    assert document.notes == (
        "line 2: no time of a subtitle, left as it is: 00:00:01 --> 00:00:02",
    )
    assert document.assemble([Said("Good.")]) == text.replace("好。", "Good.")


PIECES = [
    "1\n",
    "00:00:01,000 --> 00:00:02,500\n",
    "00:03.000 --> 00:04.000 align:left\r\n",
    "\n",
    "\r\n",
]
PIECES += [
    "你好",
    "。",
    "，",
    "- ",
    "abc ",
    "<i>",
    "</i>",
    "{\\an8}",
    "♪",
    " ",
    "WEBVTT",
    "-->",
    "NOTE x",
]


@settings(max_examples=500)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_untranslated_subtitles_are_as_they_were(text: str) -> None:
    assert translated(text, str) == text


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_every_sentence_and_time_is_there_after_translation(text: str) -> None:
    document = parse_subtitles(text, "zh", "en")
    words = [f"w{number}" for number in range(len(document.segments))]
    result = document.assemble([Said(f"{word} and more") for word in words])
    assert re.findall(r"w\d+", result) == words
    assert re.findall("[^\n]*-->[^\n]*", result) == re.findall("[^\n]*-->[^\n]*", text)


@given(st.text("ab ，。我们", max_size=60), st.lists(st.floats(0, 5), min_size=1, max_size=6))
def test_what_is_shared_out_is_the_text(text: str, weights: list[float]) -> None:
    parts = share_out(text, weights)
    assert len(parts) == len(weights)
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_lines_are_as_long_as_allowed_and_alike() -> None:
    assert break_lines("one two three four", 10) == ["one two", "three four"]
    assert break_lines("我昨天在火车站看见了一个老朋友", 20) == [
        "我昨天在火车站",
        "看见了一个老朋友",
    ] or (max(map(columns, break_lines("我昨天在火车站看见了一个老朋友", 20))) <= 20)
    assert break_lines("x" * 50, 10) == ["x" * 50]


def test_long_files_take_time_in_proportion() -> None:
    cue = "7\n00:00:01,000 --> 00:00:02,500\n你好，\n\n"
    assert translated(cue * 5000, str) == cue * 5000
    text = "00:00:01,000 --> 00:00:02,500\n" + "<i>" * 50_000
    assert translated(text, str) == text


@pytest.mark.parametrize("dash", ["- ", "-", "–", "— "])
def test_each_speaker_keeps_a_line_and_a_dash(dash: str) -> None:
    cue = f"1\n00:00:09,000 --> 00:00:10,000\n{dash}你来吗？\n{dash}我不来。\n"
    english = {"你来吗？": "Coming?", "我不来。": "No.", f"{dash}我不来。": f"{dash}No."}
    said = f"{dash}Coming?\n{dash}No.\n"
    assert translated(cue, english.__getitem__).endswith(f"\n{said}")
    document = parse_subtitles(cue, "zh", "en")
    texts = [Said(english[segment.text]) for segment in document.segments]
    assert document.assemble(texts, bilingual=True) == cue + said


def test_the_minus_of_a_number_is_no_dash() -> None:
    cue = "1\n00:00:09,000 --> 00:00:10,000\n-5度。\n"
    assert [segment.text for segment in parse_subtitles(cue, "zh", "en").segments] == ["-5度。"]
