"""What programs pass to translate_batch, by mistake and on purpose."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece

from tfm.runtime import Translator
from tfm.runtime.bundled import bundled_model

TEXTS = ["我爱你。", "谢谢。", "你叫什么名字？"]


@pytest.fixture(scope="module")
def translator() -> Iterator[Translator]:
    with Translator(intra_threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def expected(translator: Translator) -> list[str]:
    return [translator.translate(text).text for text in TEXTS]


class SortedSeries:
    """Like a sorted pandas Series: iteration has its order, [] takes labels."""

    def __init__(self, labels: list[int], values: list[str]) -> None:
        self._by_label = dict(zip(labels, values, strict=True))

    ndim = 1

    def __len__(self) -> int:
        return len(self._by_label)

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_label.values())

    def __getitem__(self, label: int) -> str:
        return self._by_label[label]


@pytest.mark.parametrize(
    "container",
    [
        tuple,
        iter,
        lambda texts: (text for text in texts),
        lambda texts: map(str, texts),
        lambda texts: dict.fromkeys(texts).keys() and dict(enumerate(texts)).values(),
        lambda texts: np.array(texts),
        lambda texts: np.array(texts, dtype=object),
        lambda texts: SortedSeries([2, 0, 1], texts),
        lambda texts: SortedSeries([7, 30, 5], texts),
    ],
)
def test_every_kind_of_sequence(
    translator: Translator, expected: list[str], container: Any
) -> None:
    translations = translator.translate_batch(container(TEXTS))
    assert [t.text for t in translations] == expected
    assert [t.source for t in translations] == TEXTS


def test_an_open_file(translator: Translator, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "chinese.txt").write_text("\n".join(TEXTS), "utf-8")
    with open(tmp_path / "chinese.txt", encoding="utf-8") as file:
        assert [t.text for t in translator.translate_batch(file)] == expected


@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        ("我爱你。", "sentences is one text"),
        ("我爱你。".encode(), "sentences is one text"),
        (None, "sentences is a NoneType"),
        (42, "sentences is a int"),
        ({"我": "你"}, "sentences is a dict"),
        ({"我", "你"}, "sentences is a set"),
        (np.array([["我", "你"]]), "sentences is a ndarray"),
        (np.array("我"), "sentences is a ndarray"),
        (["我", None], "sentence 1 is None"),
        (["我", float("nan")], "sentence 1 is nan"),
        (["我", 42], "sentence 1 is 42"),
        (["我", "你".encode()], r"sentence 1 is b'"),
        (["我", ["你"]], "sentence 1 is "),
        (["我", "\ud800"], "sentence 1 holds '.ud800'"),
        ([b"a"], "sentence 0 is b'a'"),
    ],
)
def test_what_is_no_sequence_of_texts(translator: Translator, sentences: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        translator.translate_batch(sentences)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"placeholders": "all"}, "placeholders is 'all': give PlaceholderPatterns"),
        ({"placeholders": ["urls"]}, "placeholders is "),
        ({"placeholders": True}, "placeholders is True"),
        ({"terms": "北京"}, "terms is '北京': give Terms"),
        ({"terms": [("北京", "Beijing")]}, "terms is "),
        ({"options": {"beam_size": 2}}, "options is {'beam_size': 2}: give DecodingOptions"),
        ({"options": 4}, "options is 4"),
    ],
)
def test_arguments_of_another_type(
    translator: Translator, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        translator.translate("我爱你。", **arguments)
    if "options" in arguments:
        with pytest.raises(ValueError, match=message):
            translator.stream("我爱你。", **arguments)
        with pytest.raises(ValueError, match=message):
            translator.alternatives("我爱你。", **arguments)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([[5, 3], []], "source 1 has no ids"),
        ([[5, 8000]], "has the id 8000"),
        ([[-1, 3]], "has the id -1"),
        ([[5.0, 3]], "source 0 is"),
        (["ab"], "source 0 is"),
        ([5, 3], "source 0 is 5"),
    ],
)
def test_what_are_no_ids(translator: Translator, sources: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        translator.translate_ids(sources)


def test_ids_of_every_kind(translator: Translator) -> None:
    ids = translator.tokenizer.encode(TEXTS)
    expected = translator.translate_ids(ids)
    assert translator.translate_ids(np.array(row, np.int32) for row in ids) == expected


def test_numpy_numbers_as_options(translator: Translator, expected: list[str]) -> None:
    translations = translator.translate_batch(
        TEXTS, beam_size=np.int64(4), length_penalty=np.float32(1), max_length=np.int32(256)
    )
    assert [t.text for t in translations] == expected


def test_what_stopped_at_the_limit_is_said(
    translator: Translator, caplog: pytest.LogCaptureFixture
) -> None:
    long, short = translator.translate_batch(["今天天气很好。" * 60, "我爱你。"], max_length=12)
    assert long.hypotheses[0].truncated
    assert len(long.hypotheses[0].tokens) == 12
    assert not short.hypotheses[0].truncated
    assert "1 of 2 translations stopped at 12 tokens" in caplog.text
    caplog.clear()
    # As long as the translation is, it has room; EOS does not count.
    length = len(short.hypotheses[0].tokens)
    assert translator.translate("我爱你。", max_length=length).hypotheses[0].truncated
    assert not translator.translate("我爱你。", max_length=length + 1).hypotheses[0].truncated
    assert "1 of 1 translations stopped" in caplog.text


def test_the_beginning_of_a_very_long_line_is_that_of_the_whole(translator: Translator) -> None:
    vocabulary = str(bundled_model() / "source.spm")
    whole = sentencepiece.SentencePieceProcessor(model_file=vocabulary)
    limit = translator.config.max_source_length
    for sentence in ["今天天气很好。", "abc ", "🙂", " ", "a" + " " * 500]:
        text = sentence * (60_000 // len(sentence))
        ids = whole.encode(text)[:limit]
        assert translator.tokenizer.encode([text]) == [[*ids, 3] if ids else []]


def test_close_and_with() -> None:
    with Translator(intra_threads=1) as translator:
        assert translator.translate("我爱你。").text == "I love you."
    for text in ("我爱你。", ""):
        with pytest.raises(ValueError, match="this translator is closed"):
            translator.translate(text)
    translator.close()


def test_it_shows_itself(translator: Translator) -> None:
    assert repr(translator) == (
        f"Translator({str(bundled_model())!r}, device='cpu', variant='int8', intra_threads=1)"
    )
