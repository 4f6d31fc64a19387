"""What a translation must keep: finding it, and putting back what was lost."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfm.runtime import Alignment, PlaceholderPatterns
from tfm.runtime.placeholders import COPIED, COPIED_KINDS, KINDS, AskedFor
from tfm.runtime.terms import contains_phrase

ALL = PlaceholderPatterns()


def all_of(kind: str, texts: str) -> list[tuple[str, str]]:
    return [(text, kind) for text in texts.split()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("请访问 https://a.cn/x?y=1，谢谢", [("https://a.cn/x?y=1", "urls")]),
        ("两https://a.cn/b=1个", [("https://a.cn/b=1", "urls")]),
        ("https://a.kr/b에서", [("https://a.kr/b", "urls")]),
        ("https://a.ru/б?é=ü. ", [("https://a.ru/б?é=ü", "urls")]),
        ("www.a.cn的", [("www.a.cn", "urls")]),
        ("See (http://b.org/c_(d)).", [("http://b.org/c_(d", "urls")]),
        ("www.a.com. ftp://x/y/", [("www.a.com", "urls"), ("ftp://x/y/", "urls")]),
        ("写信给a.b+c@d-e.co.uk。", [("a.b+c@d-e.co.uk", "mails")]),
        ("<img alt=\"好\" src='x'>", [("<img alt=\"好\" src='x'>", "tags")]),
        ("若a<b和c>d", []),
        ("<b>好</b><br/> &nbsp; &#39;", all_of("tags", "<b> </b> <br/> &nbsp; &#39;")),
        ("{name} ${x} {{y}} %{z} #{i}", all_of("braces", "{name} ${x} {{y}} %{z} #{i}")),
        ("%s %d %(n)s %5.2f %@", all_of("formats", "%s %d %(n)s %5.2f %@")),
        ("😀👍🏽 🇨🇳 ❤️ 👨‍👩‍👧", all_of("emoji", "😀 👍🏽 🇨🇳 ❤️ 👨‍👩‍👧")),
        ("按1️⃣或#️⃣，*⃣", all_of("emoji", "1️⃣ #️⃣ *⃣")),
        (
            "加油🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f！",
            [("🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "emoji")],
        ),
        ("改/etc/hosts和C:\\a\\b.txt", all_of("paths", "/etc/hosts C:\\a\\b.txt")),
        ("~/to-do.md ./run.sh ../a/b", all_of("paths", "~/to-do.md ./run.sh ../a/b")),
        ("src/main.py, README.md.", all_of("paths", "src/main.py README.md")),
        ("他/she and/or km/h, i.e. this; U.S. p.m. end.Next late.sorry Hi.how /", []),
        (
            "sub/late.sorry node.js a.tar.gz x.com",
            all_of("paths", "sub/late.sorry node.js a.tar.gz x.com"),
        ),
        ("@anna_b #travel C# @ # me#you", all_of("mentions", "@anna_b #travel")),
        ("乘G1234次去 COVID-19 F-16 A4-B7", all_of("codes", "G1234 COVID-19 F-16 A4-B7")),
        ("看 .bashrc (.env) libc.so.6 a.tex", all_of("paths", ".bashrc .env libc.so.6 a.tex")),
        ("你好.end ..x...more x.abc a.b", []),
        ("用obj.save()和exit() f(x) g( )", all_of("identifiers", "obj.save() exit()")),
        ("iPad onClick的 getX kWh mAh WeChat", all_of("identifiers", "iPad onClick getX")),
        ("user_name USER_ID _x x_ a__b", all_of("identifiers", "user_name USER_ID")),
        ("v2.3 3.11.7 192.168.1.1 T-shirt", all_of("codes", "v2.3 3.11.7 192.168.1.1")),
        ("13812345678，010-12345678", all_of("phones", "13812345678 010-12345678")),
        (
            "打186 0000 2222或020-8555 3456，135****7788.",
            [(t, "phones") for t in ("186 0000 2222", "020-8555 3456", "135****7788")],
        ),
        ("(212) 555-0177 1234", [("(212) 555-0177", "phones"), ("1234", "numbers")]),
        ("12 3456 789 1 2**3 100 200", all_of("numbers", "12 3456 789 1 2 3 100 200")),
        ("+86 138 1234 5678.", [("+86 138 1234 5678", "phones")]),
        ("1,000,000,000 2024-03-15", all_of("numbers", "1,000,000,000 2024-03-15")),
        ("1,000.5 2023-05-06 50% 12:30", all_of("numbers", "1,000.5 2023-05-06 50% 12:30")),
        ("12月3日8点 50% discount", all_of("numbers", "3 50%")),
        ("5 < 6 > 4, a & b; x @ y, 三个", all_of("numbers", "5 6 4")),
        ("", []),
    ],
)
def test_placeholders_of_a_text(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(found.text, found.kind) for found in ALL.find(text)] == expected
    assert all(text[found.begin : found.end] == found.text for found in ALL.find(text))


def test_kinds_and_patterns_are_chosen() -> None:
    patterns = PlaceholderPatterns(["urls"], [r"ID-\d+", r"(a|b)\1"])
    found = patterns.find("ID-77 aa http://x.y 5 ab")
    assert [(p.text, p.kind) for p in found] == [
        ("ID-77", "pattern"),
        ("aa", "pattern"),
        ("http://x.y", "urls"),
    ]
    assert PlaceholderPatterns([]).find("http://x.y") == []
    assert patterns.digest != ALL.digest


@pytest.mark.parametrize(
    ("kinds", "patterns", "message"),
    [
        (["url"], [], "no placeholders 'url': the kinds are urls, mails,"),
        ([], ["("], r"the pattern '\(' cannot be used"),
        ([], ["x*"], r"the pattern 'x\*' matches the empty text"),
    ],
)
def test_mistakes(kinds: list[str], patterns: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PlaceholderPatterns(kinds, patterns)


def words_aligned(source: str, target: str, pairs: list[tuple[str, str]]) -> Alignment:
    """An alignment of single words of both texts, each of which is a token."""

    def places(text: str) -> tuple[tuple[int, int], ...]:
        spans, at = [], 0
        for word in text.split():
            at = text.index(word, at)
            spans.append((at, at + len(word)))
            at += len(word)
        return tuple(spans)

    sources, targets = source.split(), target.split()
    weights = np.full((len(targets), len(sources)), 0.01, np.float32)
    for read, written in pairs:
        weights[targets.index(written), sources.index(read)] = 1
    return Alignment(source, target, places(source), places(target), weights)


@pytest.mark.parametrize(
    ("source", "target", "pairs", "expected"),
    [
        # A garbled copy is replaced.
        (
            "visit https://a.cn now",
            "besuche https://a.com jetzt",
            [("visit", "besuche"), ("https://a.cn", "https://a.com"), ("now", "jetzt")],
            "besuche https://a.cn jetzt",
        ),
        # What was left out stands behind what was before it.
        (
            "hello {name} there",
            "hallo da",
            [("hello", "hallo"), ("there", "da")],
            "hallo {name} da",
        ),
        ("{name} there", "da", [("there", "da")], "{name} da"),
        # An ordinary word is not replaced.
        (
            "press <b> please",
            "bitte drücken",
            [("press", "drücken"), ("please", "bitte"), ("<b>", "drücken")],
            "bitte drücken <b>",
        ),
        # What was invented, or came twice, goes.
        ("good 😀", "gut 😀 😀 %s", [("good", "gut"), ("😀", "😀")], "gut 😀"),
        # Half a character of an emoji goes.
        ("good 😀 👍", "gut 😀 \ufffd", [("good", "gut"), ("😀", "😀")], "gut 😀 👍"),
        # Brackets stay close.
        ("(77)", "(7)", [("(77)", "(7)")], "(77)"),
        # Two at once.
        ("{a} und {b}", "and", [("und", "and")], "{a} and {b}"),
        # Numbers may be added: words may become digits.
        ("three of 55", "3 von 55", [("three", "3"), ("55", "55")], "3 von 55"),
        ("line four", "Linie U4", [("line", "Linie"), ("four", "U4")], "Linie U4"),
    ],
)
def test_what_was_lost_is_put_back(
    source: str, target: str, pairs: list[tuple[str, str]], expected: str
) -> None:
    restored = ALL.restore(words_aligned(source, target, pairs))
    assert " ".join(restored.split()) == expected
    assert ALL.are_kept(source, restored)


@pytest.mark.parametrize(
    ("source", "target", "pairs", "asked_for", "expected"),
    [
        # A prefix stays, and what is like it behind it comes as often as in the source.
        ("love", "{n}: Liebe {n}", [], AskedFor("{n}:"), "{n}: Liebe"),
        ("love {n}", "{n}: Liebe {n}", [], AskedFor("{n}:"), "{n}: Liebe {n}"),
        # Nothing is put before it, or into it.
        (
            "{n} love",
            "Liebe Anna, ja",
            [("love", "Liebe"), ("love", "Anna,"), ("love", "ja")],
            AskedFor("Liebe Anna"),
            "Liebe Anna {n}, ja",
        ),
        # A term stays wherever it is, also where it only ends in what looks like a placeholder.
        ("city", "die {c} oder {c}", [], AskedFor(phrases=("{c}",)), "die {c} oder {c}"),
        ("firm", "die AT&T; oder", [], AskedFor(phrases=("AT&T",)), "die AT&T; oder"),
        # What is lost takes no word of it.
        ("Anne <Anna>", "Anna", [("<Anna>", "Anna")], AskedFor(phrases=("Anna",)), "Anna <Anna>"),
        ("city", "{d} die", [], AskedFor(phrases=("{c}",)), "die"),
    ],
)
def test_what_a_caller_asks_for_stays(
    source: str,
    target: str,
    pairs: list[tuple[str, str]],
    asked_for: AskedFor,
    expected: str,
) -> None:
    restored = ALL.restore(words_aligned(source, target, pairs), asked_for)
    assert ALL.are_kept(source, restored, asked_for)
    assert restored == expected


PARTS = ["{n}", "a/b.py", "@ab", "A4", "%s", "<b>", "</b>", "😀", "https://a.cn/x", "a@b.cd"]
PARTS += ["77", "3.14", "word", "字", "。", "(", "}", "%", "<", "x77"]
TEXTS = st.lists(st.sampled_from([*PARTS, " "]), max_size=8).map("".join)


@settings(deadline=None, max_examples=400)
@given(source=TEXTS, target=TEXTS, seed=st.integers(0, 5))
@example("{n}", "", 0)
@example("", "{n}{n}", 0)
@example("77", "x77", 0)
@example("%s%s", "%s", 0)
def test_nothing_is_lost_and_nothing_added(source: str, target: str, seed: int) -> None:
    """Whatever the translation is, and whatever the alignment says."""
    rng = np.random.default_rng(seed)
    alignment = Alignment(
        source,
        target,
        tuple((i, i + 1) for i in range(len(source))),
        tuple((i, i + 1) for i in range(len(target))),
        rng.random((len(target), len(source)), np.float32),
    )
    restored = ALL.restore(alignment)
    wanted, found = (Counter(p.text for p in ALL.find(t)) for t in (source, restored))
    assert not wanted - found
    extra = [p for p in ALL.added(source, restored)]
    assert extra == []
    if ALL.are_kept(source, target):
        assert restored == target.strip()


@settings(deadline=None, max_examples=200)
@given(
    source=TEXTS, rest=TEXTS, prefix=st.sampled_from([*PARTS, ""]), phrase=st.sampled_from(PARTS)
)
def test_nothing_that_is_asked_for_is_lost(
    source: str, rest: str, prefix: str, phrase: str
) -> None:
    """Whatever the translation is, and wherever the phrase is in it."""
    target = f"{prefix} {rest}".strip()
    asked_for = AskedFor(prefix, (phrase,))
    alignment = Alignment(source, target, (), (), np.zeros((0, 0), np.float32))
    restored = ALL.restore(alignment, asked_for)
    assert restored.startswith(prefix)
    assert contains_phrase(restored, phrase) or not contains_phrase(target, phrase)
    assert ALL.lacking(source, restored) == [] == ALL.added(source, restored, asked_for)


@settings(deadline=None, max_examples=400)
@given(text=TEXTS | st.text(max_size=12) | st.text("www.字/\\a7xX@#&;<>{}%s-_ ☀🇨🇳😀", max_size=12))
def test_the_quick_look_overlooks_nothing(text: str) -> None:
    for kind, pattern in KINDS.items():
        if re.search(pattern, text):
            assert PlaceholderPatterns([kind]).find(text), kind


def test_every_kind_has_an_example() -> None:
    text = "https://a.cn a@b.cd <b> {n} %s 😀 a.py @a A4 f() 123456789, 7"
    assert [p.kind for p in ALL.find(text)] == list(KINDS)
    assert [p.kind for p in COPIED.find(text)] == list(COPIED_KINDS) == list(KINDS)[:-1]
