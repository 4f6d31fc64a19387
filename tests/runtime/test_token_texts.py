"""Texts that must not come: which tokens would complete one, however it is cut into tokens."""

import random
import re
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import example, given
from hypothesis import strategies as st

from tfm.runtime import Translator
from tfm.runtime.bundled import bundled_model
from tfm.runtime.options import DecodingOptions
from tfm.runtime.processors import SearchContext, processors_for
from tfm.runtime.subwords import SubwordModel
from tfm.runtime.token_texts import TokenTexts

SENTENCES = ["今天天气很好，我们明天去北京。", "他每天早上六点起床。", "我想喝一杯茶。"]


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator(intra_threads=1)


def said_by(texts: list[str]) -> str:
    """What tokens say together, as in the middle of a text."""
    return re.sub(" +", " ", " " + "".join(texts))


def occurrences(text: str, within: str) -> int:
    return sum(within.startswith(text, place) for place in range(len(within)))


@given(
    vocabulary=st.lists(st.text(" aéb", max_size=4), min_size=1, max_size=9),
    ids=st.lists(st.integers(0, 8), max_size=7),
    texts=st.lists(st.text(" aéb", min_size=1, max_size=5).filter(str.strip), min_size=1),
)
@example(vocabulary=["a ", " b", "b"], ids=[0], texts=["a b"])
def test_a_token_is_forbidden_if_a_text_would_end_in_it(
    vocabulary: list[str], ids: list[int], texts: list[str]
) -> None:
    ids = [token_id % len(vocabulary) for token_id in ids]
    token_texts = TokenTexts([text.encode() for text in vocabulary])
    context = SearchContext(3, 0, token_texts=lambda: token_texts)
    (process,) = processors_for(DecodingOptions(suppress_texts=texts), context)
    logits = np.zeros((1, 1, len(vocabulary)), np.float32)
    found = np.isneginf(process(logits, np.array([[ids]], np.int64))[0, 0])
    before = [vocabulary[token_id] for token_id in ids]
    expected = [
        any(
            occurrences(text, said_by([*before, token])) > occurrences(text, said_by(before))
            for text in (re.sub(" +", " ", text) for text in texts)
        )
        for token in vocabulary
    ]
    assert found.tolist() == expected


def test_each_beam_has_its_own() -> None:
    token_texts = TokenTexts([b"a", b"b", b"\xc3", b"\xa9"])
    context = SearchContext(3, 0, token_texts=lambda: token_texts)
    options = DecodingOptions(suppress_texts=("ab", "é"))
    (process,) = processors_for(options, context)
    sequences = np.array([[[1, 0], [0, 1]], [[1, 1], [0, 2]]])
    forbidden = np.isneginf(process(np.zeros((2, 2, 4), np.float32), sequences))
    assert np.argwhere(forbidden).tolist() == [[0, 0, 1], [1, 1, 3]]


def test_the_texts_of_tokens_are_sentencepieces_own() -> None:
    for name in ("zh-en", "en-zh"):
        path = bundled_model(name) / "target.spm"
        processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        texts = SubwordModel(processor).texts(processor.vocab_size())
        rng = random.Random(5)
        rows = [rng.choices(range(processor.vocab_size()), k=20) for _ in range(200)]
        rows += processor.encode(["I've got 3 🙂, é!", "你好 hello"], out_type=int)
        for ids in rows:
            joined = b"".join(texts[token_id] for token_id in ids)
            if processor.decode(ids).count("\ufffd"):  # bytes that are no character
                continue
            assert processor.decode(ids).strip() == joined.decode().strip()


@pytest.mark.parametrize(
    "options",
    [{}, {"beam_size": 1}, {"num_hypotheses": 4}, {"temperature": 1.2, "num_hypotheses": 3}],
)
def test_texts_are_in_no_translation(translator: Translator, options: dict[str, Any]) -> None:
    """What comes instead of a forbidden text is forbidden next: the text of whole translations,
    of words in any segmentation, and of single letters."""
    rng = random.Random(7)
    for sentence in SENTENCES:
        forbidden: list[str] = []
        for _ in range(4):
            translation = translator.translate(
                sentence, suppress_texts=forbidden, max_length=30, **options
            )
            for hypothesis in translation.hypotheses:
                assert not any(text in " " + hypothesis.text for text in forbidden)
            words = (" " + translation.text).split(" ")
            start = rng.randrange(len(words))
            forbidden.append(rng.choice((" ", "")) + " ".join(words[start : start + 2]))
            forbidden[-1:] = [text for text in forbidden[-1:] if text.strip()]


def test_a_space_before_a_text_means_the_beginning_of_a_word(translator: Translator) -> None:
    plain = translator.translate(SENTENCES[0]).text
    assert " going " in plain
    assert translator.translate(SENTENCES[0], suppress_texts=[" oing "]).text == plain
    assert translator.translate(SENTENCES[0], suppress_texts=[" y"]).text == plain
    assert "o" not in translator.translate(SENTENCES[0], suppress_texts=["o"]).text
    first = plain.split()[0]
    for text in (first, " " + first):
        assert not translator.translate(SENTENCES[0], suppress_texts=[text]).text.startswith(first)


def test_a_target_prefix_may_hold_a_text_and_begin_one(translator: Translator) -> None:
    options = {"target_prefix": "Today is good", "suppress_texts": ["good weather", "Today"]}
    text = translator.translate(SENTENCES[0], **options).text
    assert text.startswith("Today is good")
    assert "good weather" not in text
    assert "".join(translator.stream(SENTENCES[0], **options)) == text


def test_what_lacks_the_names_of_tokens_says_so() -> None:
    for options in ({"suppress_texts": ("a",)}, {"suppress_unk": True}):
        with pytest.raises(ValueError, match="suppress_"):
            processors_for(DecodingOptions(**options), SearchContext(3, 0))


def test_remembered_texts_are_few() -> None:
    token_texts = TokenTexts([b"a"])
    for number in range(2500):
        token_texts.completions(f"a{number}")
    assert len(token_texts._remembered) <= 1000
