"""Where tokens stand in their texts, and which of them belong together."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfm.runtime import Alignment, ModelError, Translator
from tfm.runtime.alignment import alignment_weights
from tfm.runtime.alignment_heads import AlignmentHeads, default_heads
from tfm.runtime.pair_scorer import LongTargetError
from tfm.runtime.tokenizer import Tokenizer

TEXTS = st.text(
    st.one_of(
        st.sampled_from("one two three hundred  12,."),
        st.characters(codec="utf-8", exclude_categories=["Cc"]),
    ),
    max_size=24,
)


@pytest.fixture(scope="module")
def translator(tiny_folder: Path) -> Translator:
    return Translator(tiny_folder, variant="fp32", intra_threads=1)


@pytest.fixture(scope="module")
def tokenizer(translator: Translator) -> Tokenizer:
    return Tokenizer(translator.folder, translator.config)


@settings(deadline=None, max_examples=150)
@given(text=TEXTS)
def test_places_of_source_tokens_cover_the_text(tokenizer: Tokenizer, text: str) -> None:
    """One after the other, and nothing but spaces (and what normalization drops) between them."""
    (ids,) = tokenizer.encode([text])
    if not ids:
        return
    places = tokenizer.source_spans(text, ids)
    assert len(places) == len(ids)
    assert places[-1] == (len(text), len(text))  # EOS
    for (begin, end), (next_begin, next_end) in itertools.pairwise(places):
        same = (begin, end) == (next_begin, next_end)  # bytes of one character
        assert 0 <= begin <= end <= next_end <= len(text) and (same or end <= next_begin), places
    covered = {i for begin, end in places for i in range(begin, end)}
    left = "".join(char for i, char in enumerate(text) if i not in covered)
    pieces = tokenizer.encode([left])[0]
    assert len(pieces) <= 1, (text, left)  # nothing that has tokens of its own


@settings(deadline=None, max_examples=150)
@given(text=TEXTS)
def test_places_of_target_tokens_are_their_text(tokenizer: Tokenizer, text: str) -> None:
    (ids,) = tokenizer.encode_target([text])
    (decoded,) = tokenizer.decode([ids])
    places = tokenizer.target_spans(ids)
    assert len(places) == len(ids)
    joined, before = "", None
    for place in places:
        if place != before or place[0] == place[1]:
            joined += decoded[slice(*place)]
        before = place
    assert joined == decoded


def test_bytes_of_one_character_have_its_place(tokenizer: Tokenizer) -> None:
    text = "one 龘 two"
    (ids,) = tokenizer.encode([text])
    places = tokenizer.source_spans(text, ids)
    assert [place for place in places if text[slice(*place)] == "龘"] == [(4, 5)] * 3
    (ids,) = tokenizer.encode_target([text])
    written = [place for place in tokenizer.target_spans(ids) if "龘" in text[slice(*place)]]
    assert len(written) == 3 and len(set(written)) == 1


def example() -> Alignment:
    """A translation with its words in another order; the first and last tokens are no text."""
    return Alignment(
        source="红茶 很好",
        target="good black tea",
        source_spans=((0, 0), (0, 1), (1, 2), (3, 5), (5, 5)),
        target_spans=((0, 4), (4, 10), (10, 14), (14, 14)),
        weights=np.array(
            [[0.9, 0, 0, 0.1, 0], [0, 0.6, 0.4, 0, 0], [0, 0.1, 0.3, 0, 0.6], [0, 0, 0, 0, 1]],
            np.float32,
        ),
    )


def test_pairs_are_tokens_that_stand_for_text() -> None:
    assert example().pairs == ((3, 0), (1, 1), (2, 2))
    nothing = Alignment("", "a", (), ((0, 1),), np.zeros((1, 0), np.float32))
    assert nothing.pairs == () and nothing.source_of(0, 1) == (0, 0)
    spaces = Alignment(" ", "a", ((0, 0), (1, 1)), ((0, 1),), np.ones((1, 2), np.float32))
    assert spaces.pairs == ()


def test_parts_of_a_text_come_from_parts_of_the_other() -> None:
    alignment = example()
    assert alignment.source_of(0, 4) == (3, 5)
    assert alignment.source_of(5, 14) == (0, 2)
    assert alignment.target_of(0, 2) == (4, 14)
    assert alignment.target_of(3, 4) == (0, 4)
    assert alignment.target_of(2, 3) == (0, 0)  # a space


def test_weights_are_those_of_the_chosen_heads_and_step() -> None:
    cross = np.random.default_rng(0).random((2, 3, 4, 5), np.float32)
    same = alignment_weights(cross, AlignmentHeads(layer=1, heads=(0, 2)))
    np.testing.assert_array_equal(same, (cross[1, 0, :3] + cross[1, 2, :3]) / 2)
    later = alignment_weights(cross, AlignmentHeads(layer=0, heads=(1,), from_next_step=True))
    np.testing.assert_array_equal(later, cross[0, 1, 1:])
    assert default_heads(2, 2) == AlignmentHeads(layer=1, heads=(0, 1))
    assert default_heads(6, 1).layer == 4


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        (
            AlignmentHeads(layer=2, heads=(0,)),
            "alignment.layer is 2: the decoder has layers 0 to 1",
        ),
        (AlignmentHeads(layer=1, heads=(4,)), r"alignment.heads is \[4\]: .* 0 to 3"),
        (AlignmentHeads(layer=1, heads=()), r"alignment.heads is \[\]"),
    ],
)
def test_heads_that_the_model_does_not_have(heads: AlignmentHeads, message: str) -> None:
    heads_of_model = 2, 4
    with pytest.raises(ModelError, match=message):
        heads.check(*heads_of_model)


def test_a_translation_with_its_alignment(translator: Translator) -> None:
    """The same as that of its text, whose tokens here are the hypothesis' own."""
    sentences = ["three two", "", "one"]
    found = translator.translate_batch(sentences, with_alignment=True, max_length=6, beam_size=2)
    assert [t.text for t in found] == [
        t.text for t in translator.translate_batch(sentences, max_length=6, beam_size=2)
    ]
    for translation in found:
        alignment = translation.alignment
        assert alignment is not None
        assert (alignment.source, alignment.target) == (translation.source, translation.text)
        tokens = translation.hypotheses[0].tokens
        assert len(alignment.target_spans) == len(alignment.weights) == len(tokens)
    (empty,) = (t.alignment for t in found if not t.source)
    assert empty is not None and empty.pairs == ()
    first, again = found[0].alignment, translator.align(sentences[0], found[0].text)
    assert first is not None
    if first.target_spans == again.target_spans:
        np.testing.assert_allclose(first.weights, again.weights, atol=1e-4)
    assert translator.translate("one").alignment is None


def test_a_target_with_other_spaces_has_its_own_places(translator: Translator) -> None:
    plain, wide = "one two three", "  one  two   three"
    expected = translator.align("three two", plain)
    found = translator.align("three two", wide)
    for (begin, end), (other, last) in zip(found.target_spans, expected.target_spans, strict=True):
        assert wide[begin:end].strip() == plain[other:last].strip()
    assert found.pairs == expected.pairs


def test_targets_have_a_limit(translator: Translator) -> None:
    targets = ["one", "one " * 1100, "two " * 1100]
    for call in (translator.score_batch, translator.align_batch):
        with pytest.raises(
            LongTargetError, match=r"target 1 has .* tokens, and at most 1024"
        ) as got:
            call(["one"] * 3, targets)
        assert got.value.places == (1, 2)


def test_the_part_of_a_sentence_that_is_read(translator: Translator, tokenizer: Tokenizer) -> None:
    short, long = "one two  ", "one two three " * 600
    (read,) = tokenizer.encode([long])
    part = translator._pairs.part_read(long, read)
    assert len(part) < len(long) and long.startswith(part)
    assert tokenizer.encode([part]) == [read]
    assert translator._pairs.part_read(short, tokenizer.encode([short])[0]) == short


def test_as_many_targets_as_sources(translator: Translator) -> None:
    with pytest.raises(ValueError, match="there are 2 sources and 1 targets"):
        translator.align_batch(["one", "two"], ["one"])
    with pytest.raises(ValueError, match="there are 1 sources and 0 targets"):
        translator.score_batch(["one"], [])


def test_scores_of_texts(translator: Translator) -> None:
    score, empty = translator.score_batch(["one two", " "], ["one", ""])
    assert score.target_tokens[-1] == score.source_tokens[-1] == "</s>"
    assert len(score.log_probs) == len(score.target_tokens)
    assert score.total == pytest.approx(sum(score.log_probs)) and score.attention is None
    assert np.isnan(empty.total) and empty.log_probs == ()
    again = translator.score("one two", "one", with_attention=True)
    assert again.attention is not None
    size = len(again.target_tokens), len(again.source_tokens)
    assert again.attention.cross.shape[2:] == size
