"""Text as it settles: pieces make the translation, early, and are never taken back."""

from collections.abc import Generator

import numpy as np
import pytest
from helpers.languages import Language, LanguageDecoder
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tfm.runtime import CancelledError, Translator
from tfm.runtime.decode import decode_steps
from tfm.runtime.options import DecodingOptions
from tfm.runtime.search import ScoredIds, Unfinished
from tfm.runtime.streaming import settled_text

BOS, EOS = 2, 3
SENTENCES = [
    "我爱你。",
    "今天天气很好。",
    "他每天早上六点起床。",
    "单击“文件”菜单，然后选择“另存为”。",
]


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator(intra_threads=1)


@pytest.mark.parametrize("beam_size", [1, 4])
@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_pieces_are_the_translation(
    translator: Translator, sentence: str, beam_size: int
) -> None:
    pieces = list(translator.stream(sentence, beam_size=beam_size))
    assert "".join(pieces) == translator.translate(sentence, beam_size=beam_size).text
    assert all(pieces)
    if beam_size == 1:
        assert len(pieces) > 2


def test_beam_search_shows_something_before_the_end(translator: Translator) -> None:
    assert any(len(list(translator.stream(sentence))) > 2 for sentence in SENTENCES)


def test_prefixes_options_and_sampling(translator: Translator) -> None:
    for options in (
        {"target_prefix": "I would"},
        {"min_length": 12, "beam_size": 2},
        {"no_repeat_ngram_size": 2},
        {"temperature": 1.0, "seed": 3},
    ):
        pieces = translator.stream("我想喝一杯茶。", **options)
        assert "".join(pieces) == translator.translate("我想喝一杯茶。", **options).text


def test_nothing_gives_no_piece_and_wrong_arguments_are_refused_at_once(
    translator: Translator,
) -> None:
    assert list(translator.stream("  ")) == []
    with pytest.raises(TypeError, match="no decoding option"):
        translator.stream("好", beams=2)
    with pytest.raises(ValueError, match="beam_size is 0"):
        translator.stream("好", beam_size=0)


def test_a_stream_can_be_cancelled_and_left(translator: Translator) -> None:
    pieces = translator.stream("他每天早上六点起床。", beam_size=1)
    next(pieces)
    translator.cancel()
    with pytest.raises(CancelledError):
        list(pieces)
    left = translator.stream("他每天早上六点起床。", beam_size=1)
    next(left)
    assert isinstance(left, Generator)
    left.close()
    assert not translator._tokens._calls


def random_language(seed: int) -> Language:
    """Logits of six tokens for every prefix; EOS is likely."""

    def logits(prefix: tuple[int, ...]) -> NDArray[np.float32]:
        values = np.random.default_rng([seed, *prefix]).normal(0, 2, 6).astype(np.float32)
        values[EOS] += 1
        return values

    return logits


@given(st.integers(0, 10_000), st.integers(1, 4), st.sampled_from([0.0, 0.6, 1.0, 2.0]))
def test_what_is_settled_begins_every_result(seed: int, beam_size: int, penalty: float) -> None:
    options = DecodingOptions(
        beam_size=beam_size, num_hypotheses=beam_size, length_penalty=penalty, max_length=8
    )
    decoder = LanguageDecoder([random_language(seed)], beam_size)
    steps = decode_steps(decoder, [[5, EOS]], options, bos_id=BOS, eos_id=EOS)
    settled: list[tuple[int, ...]] = [()]
    while True:
        try:
            unfinished = next(steps)
        except StopIteration as end:
            results: list[list[ScoredIds]] = end.value
            break
        settled.append(unfinished.settled(0))
        best = unfinished.best_so_far()[0]
        assert 1 <= len(best) <= beam_size
        assert settled[-1][: len(settled[-2])] == settled[-2]
    for hypothesis in results[0]:
        assert hypothesis.ids[: len(settled[-1])] == settled[-1]


def test_half_a_character_waits() -> None:
    """An emoji of four tokens, one byte each."""

    def steps() -> Generator["Settled", None, list[list[ScoredIds]]]:
        for count in range(1, 5):
            yield Settled(tuple(range(count)))
        return [[ScoredIds((0, 1, 2, 3, 9), 0.0)]]

    class Settled(Unfinished):
        def __init__(self, ids: tuple[int, ...]) -> None:
            self.ids = ids

        def settled(self, sentence: int) -> tuple[int, ...]:
            return self.ids

    texts = {1: "\ufffd", 2: "\ufffd\ufffd", 3: "\ufffd", 4: "🙂", 5: "🙂!"}
    assert list(settled_text(steps(), (), lambda ids: texts[len(ids)])) == ["🙂", "!"]
