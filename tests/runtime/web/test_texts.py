"""The page's modules for texts say what Python's say."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from helpers.javascript import javascript
from helpers.paths import ROOT, SHARED_DATA

from tfm.runtime import Alignment, Hypothesis
from tfm.runtime.bundled import BUNDLED_MODELS
from tfm.runtime.capitals import fold_capitals
from tfm.runtime.config import ModelConfig
from tfm.runtime.documents import parse_text, split_sentences
from tfm.runtime.doubts import DOUBTS, TranslatedSentence
from tfm.runtime.placeholders import COPIED, COPIED_KINDS
from tfm.runtime.scripts import is_in_other_script, is_spaced, scripts_of
from tfm.runtime.tokenizer import Tokenizer

CASES = json.loads((ROOT / "tests/runtime/documents/sentences.json").read_text("utf-8"))
PARTS = [
    *"。！？…；.!?\"'”“）) \n\t，,:-1A9aÉéßﬁ我😀𠀀²—\x85\ufeff\xa0\u3000",
    *("Dr. ", "https://a.b/?c. ", "U.S. ", "No. ", "fig. ", "Mr. ", "Hello ", "他走了", " – "),
    *("(a) ", "- ", "3. ", "www.x.y ", "I. ", "p. ", "  ", "5 p.m. "),
]
ODD = [
    *"abc ABC　1２３ｱｶﾞﾊﾟ妳們國學台湾。，,.!℃½①㍿ﬁ\t\n\u00ad\u200b😀𠀀é\x01\x00",
    *("e\u0301", "o\u0308", "  ", "▁", " ▁", "<s>", "<0x41>", "\u3000\u3000", "가", "\u1100\u1161"),
]
LANGUAGES = ["zh", "en", "ja", "ko", "ru", "zho_Hant", "eng_Latn", "sr", "xx", "zh-Xxxx", "th"]


def random_texts(parts: list[str], count: int, longest: int = 40) -> list[str]:
    chosen = random.Random(7)
    return [
        "".join(chosen.choice(parts) for _ in range(chosen.randint(0, longest)))
        for _ in range(count)
    ]


def random_texts_of(chosen: random.Random, parts: list[str], count: int) -> list[str]:
    return ["".join(chosen.choices(parts, k=chosen.randint(0, 7))) for _ in range(count)]


def random_characters(count: int) -> list[str]:
    chosen = random.Random(8)
    points = [chosen.randint(1, 0x2FFFF) for _ in range(count * 6)]
    characters = [chr(point) for point in points if not 0xD800 <= point < 0xE000]
    return ["".join(characters[start : start + 5]) for start in range(0, len(characters), 5)]


def committed_lines() -> list[str]:
    """Chinese and English sentences of the tests' own lists."""
    rows = [
        line.split("\t")[:2]
        for name in ("phrases.tsv", "names.tsv", "copies.tsv")
        for line in (ROOT / "tests" / "models" / name).read_text("utf-8").splitlines()
    ]
    return [text for row in rows for text in row]


def shared_lines() -> list[str]:
    """All lines of the development and test sets, both sides."""
    files = [f"zh-en/{part}.tsv" for part in ("dev", "test")]
    files += [f"zh-en2/{part}.tsv" for part in ("dev2", "test2", "flores-dev")]
    if not all((SHARED_DATA / file).exists() for file in files):
        pytest.skip("no shared data here")
    return [
        text
        for file in files
        for line in (SHARED_DATA / file).read_text("utf-8").splitlines()
        for text in line.split("\t")[:2]
    ]


def test_sentences_of_the_shared_cases() -> None:
    found = javascript("sentences", texts=[case["text"] for case in CASES])
    assert found == [case["sentences"] for case in CASES]


def test_capitals_are_folded_as_in_python() -> None:
    parts = [*"ABIÉßİΣǅ1．. '-我😀𝐀ﬁ٣²", "HELLO ", "I ", "THE ", "G7 ", "ÉCOLE ", "ok "]
    texts = [text.upper() for text in random_texts(parts, 2000, longest=12)]
    texts += random_texts(parts, 1000, longest=12) + random_characters(500)
    texts += [text.upper() for text in committed_lines()]
    folded = [fold_capitals(text) for text in texts]
    assert javascript("capitals", texts=texts) == folded
    assert sum(text != plain for text, plain in zip(folded, texts, strict=True)) > 1000


PLACEHOLDERS = [
    *[
        "{n}",
        "a/b.py",
        "x.txt",
        "@ab",
        "A4",
        "%s",
        "<b>",
        "</b>",
        "😀",
        "👨\u200d👩",
        "1️⃣",
        "#\u20e3",
        "\ufffd",
        "🏴\U000e0067\U000e0062\U000e007f",
        "www.x",
        "77",
    ],
    *["https://a.cn/x", "a@b.cd", "138-1234-5678", "3.14", "v2.3", "word", "字", "。", "(", "}"],
    *["getXy", "f()", "a_b", " .env", "libc.so.6", "_", "()", "*****"],
    *["(212) 555-0177", "186 0000 2222"],
    *["/etc/hosts", "C:\\a", "~/b", "&amp;", "{{y}}", " ", " ", "，", "Ab", "é", "\u3000", "-"],
    *["%", "<", "x77", ".", "77", "<i q=", "'", '"'],
]


def test_placeholders_are_found_and_put_back_as_in_python() -> None:
    texts = random_texts(PLACEHOLDERS, 1500, longest=8) + committed_lines()
    chosen = random.Random(9)
    pairs, restored = [], []
    for _ in range(1500):
        source, target = random_texts_of(chosen, PLACEHOLDERS, 2)
        weights = np.array([[chosen.random() for _ in source] for _ in target], np.float32)
        spans = [tuple((i, i + 1) for i in range(len(text))) for text in (source, target)]
        alignment = Alignment(source, target, *spans, weights.reshape(len(target), len(source)))
        places = [
            [*alignment.source_spans[read], *alignment.target_spans[written]]
            for read, written in alignment.pairs
        ]
        pairs.append({"source": source, "target": target, "places": places})
        restored.append(COPIED.restore(alignment))
    found = javascript("placeholders", texts=texts, pairs=pairs)
    expected = [[[p.text, p.kind, p.begin, p.end] for p in COPIED.find(text)] for text in texts]
    assert found["found"] == expected
    assert found["restored"] == restored
    assert len({kind for row in expected for _, kind, _, _ in row}) == len(COPIED_KINDS)
    assert sum(pair["target"] != text for pair, text in zip(pairs, restored, strict=True)) > 800


def test_sentences_are_those_of_python() -> None:
    texts = random_texts(PARTS, 3000) + random_texts(PARTS, 100, longest=600)
    texts += random_texts(
        [*"我他我他", "word ", "，", "😀", ", ", "—", "ab", " - "], 100, longest=900
    )
    lines = committed_lines()
    texts += ["".join(lines[start : start + 6]) for start in range(0, len(lines), 6)]
    expected = [[text[begin:end] for begin, end in split_sentences(text)] for text in texts]
    assert javascript("sentences", texts=texts) == expected


@pytest.mark.slow
def test_sentences_of_the_shared_data() -> None:
    lines = shared_lines()
    texts = [" ".join(lines[start : start + 8 : 2]) for start in range(0, len(lines), 4)]
    expected = [[text[begin:end] for begin, end in split_sentences(text)] for text in texts]
    assert javascript("sentences", texts=texts) == expected


@pytest.mark.parametrize("target", ["zh", "en"])
def test_texts_are_put_together_as_python_does(target: str) -> None:
    class Said:
        alignment = None

        def __init__(self, text: str) -> None:
            self.text = text

    texts = [case["text"] for case in CASES] + random_texts(PARTS, 500)
    expected = []
    for text in texts:
        document = parse_text(text, "xx", target)
        expected.append(document.assemble([Said(f"<{s.text}>") for s in document.segments]))
    assert javascript("assemble", texts=texts, target=target) == expected


def check_vocabularies(folder: Path, texts: list[str]) -> None:
    """Ids, places and decoded text of both vocabularies are those of Python."""
    config = ModelConfig.load(folder)
    tokenizer = Tokenizer(folder, config)
    chosen = random.Random(9)
    for side, model in (("source", tokenizer._source), ("target", tokenizer._target)):
        size = len(model)
        ids = [
            [chosen.randrange(size if chosen.random() < 0.6 else 260) for _ in range(length % 13)]
            for length in range(500)
        ]
        path = folder / getattr(config.tokenizer, side).path
        found = javascript("vocabulary", path=str(path), texts=texts, ids=ids)
        assert found["ids"] == model.encode(texts, size, config.special_ids.unk_id)
        assert found["spans"] == [[list(span) for span in model.spans(text)] for text in texts]
        assert found["decoded"] == [model.decode(row) for row in ids]


@pytest.mark.parametrize("name", BUNDLED_MODELS)
def test_ids_are_those_of_python(name: str) -> None:
    texts = committed_lines()[::3] + random_texts(ODD, 400) + random_characters(200)
    check_vocabularies(ROOT / "models" / name, texts)


def test_ids_of_another_vocabulary(tiny_folder: Path) -> None:
    check_vocabularies(tiny_folder, random_texts([*ODD, *"零一二三千百十", "one ", "two"], 500))


@pytest.mark.slow
@pytest.mark.parametrize("name", BUNDLED_MODELS)
def test_ids_of_the_shared_data(name: str) -> None:
    check_vocabularies(ROOT / "models" / name, shared_lines())


def test_damaged_vocabularies(tiny_folder: Path) -> None:
    whole = list((tiny_folder / "source.spm").read_bytes())
    found = javascript("damagedVocabulary", files=[whole, whole[:-40], [], [255] * 20, whole[1:]])
    assert found[0].isdigit()
    assert all("this is not a SentencePiece model" in message for message in found[1:])


def test_scripts_are_those_of_python() -> None:
    texts = [case["text"] for case in CASES] + committed_lines()[:200]
    texts += [
        "Привет всем",
        "你好 world and so on",
        "こんにちは",
        "안녕하세요",
        "12 @ https://a.b",
        "",
    ]
    found = javascript("scripts", texts=texts, languages=LANGUAGES)
    assert found["scripts"] == [list(scripts_of(language)) for language in LANGUAGES]
    assert found["spaced"] == [is_spaced(language) for language in LANGUAGES]
    assert found["foreign"] == [
        [is_in_other_script(text, language) for language in LANGUAGES] for text in texts
    ]


def test_the_language_of_a_text() -> None:
    texts = [
        "你好吗",
        "How are you?",
        "我爱 OpenAI 的 ChatGPT",
        "The word 猫 means cat.",
        "123",
        "",
    ]
    found = javascript("scripts", texts=texts, languages=["zh", "en"])
    assert found["detected"] == ["zh", "en", "zh", "en", None, None]


def test_doubts_are_those_of_python() -> None:
    chosen = random.Random(10)
    sources = [
        "我有3只猫。",
        "It costs 1,234.5 dollars.",
        "第１２天",
        "三个人",
        "",
        "2024年3月15日",
        "a",
    ]
    targets = ["I have 3 cats.", "它要1234.5美元。", "Day 12", "3 people", "", "Fifteen days", "  "]
    sentences = []
    expected = []
    for _ in range(2000):
        period = [chosen.randrange(9) for _ in range(chosen.randint(1, 9))]
        tokens = (period * 9)[: chosen.randint(0, 24)]
        score = chosen.choice([-0.1, -0.9999, -1.0, -3.0, -float("1e30")])
        source, target = chosen.choice(sources), chosen.choice(targets)
        truncated = chosen.random() < 0.1
        length, language = chosen.randint(1, 40), chosen.choice(["en", "zh"])
        penalty, unattended = chosen.choice([0.0, 0.6, 1.0]), chosen.choice([0.2, 0.7, None])
        sentences.append(
            {
                "source": source,
                "text": target,
                "tokens": tokens,
                "score": score,
                "truncated": truncated,
                "sourceLength": length,
                "targetLanguage": language,
                "lengthPenalty": penalty,
                "unattended": unattended,
            }
        )
        sentence = TranslatedSentence(
            source,
            Hypothesis(target, score, tuple(tokens), truncated),
            length,
            language,
            penalty,
            float("nan") if unattended is None else unattended,
        )
        expected.append(
            [n for n, doubt in DOUBTS.items() if doubt.measure(sentence) >= doubt.limit]
        )
    assert javascript("doubts", sentences=sentences) == expected
    assert {name for names in expected for name in names} == set(DOUBTS)


def test_doubts_have_the_same_meanings() -> None:
    names = [*DOUBTS, "something else"]
    expected = [*(doubt.meaning for doubt in DOUBTS.values()), "something else"]
    assert javascript("meanings", names=names) == expected


def test_words_have_the_places_that_their_tokens_come_from() -> None:
    pairs = [
        {
            "source": "😀我爱你。",
            "target": "I love you. 😀",
            "alignment": [
                *([1, 2, 0, 1], [2, 3, 1, 4], [2, 3, 4, 6]),
                *([3, 4, 6, 10], [4, 5, 10, 11], [0, 1, 11, 13]),
            ],
        },
        {
            "source": "My old friend",
            "target": "我的老朋友",
            "alignment": [[0, 2, 0, 2], [2, 6, 2, 3], [6, 13, 3, 5]],
        },
        {"source": "a", "target": "b c", "alignment": None},
    ]
    assert javascript("words", pairs=pairs) == [
        [["I", ["我"]], ["love", ["爱"]], ["you", ["你"]], [".", ["。"]], ["😀", ["😀"]]],
        [["我的", ["My"]], ["老", ["old"]], ["朋友", ["friend"]]],
        [["b c", []]],
    ]
