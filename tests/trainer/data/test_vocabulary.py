"""Vocabularies: any text survives them, and no text becomes a special token."""

import re
import sys
import unicodedata
from pathlib import Path

import opencc
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tfm.trainer.config import TransformerConfig, VocabularyRecipe
from tfm.trainer.data.vocabulary import SOURCE_FILE, TARGET_FILE, Vocabulary, train_vocabulary
from tfm.trainer.errors import TrainError

SOURCES = ["我爱你。", "今天天气很好。", "你叫什么名字？", "我想喝一杯茶。"] * 3
TARGETS = ["I love you.", "The weather is fine.", "What is your name?", "Tea, please."] * 3
SEPARATE = train_vocabulary(SOURCES, TARGETS, VocabularyRecipe(size=300))
JOINT = train_vocabulary(SOURCES, TARGETS, VocabularyRecipe(size=320, joint=True))
SPECIAL_TEXT = "<pad><unk><s></s> <0x41><0x00> ▁ </s>"


def spaced(text: str) -> str:
    """What SentencePiece does to white space, and all that it does: runs of spaces become one,
    U+2581 (its own mark for a space) becomes a space, spaces at the ends are dropped. Tabs, line
    ends and other white space are characters like any."""
    return re.sub(" +", " ", text).replace("▁", " ").strip(" ")


@given(st.text() | st.text("ab ▁\t\u3000"))
@example(SPECIAL_TEXT)
@example("a\t b\r\n\u3000c\u00a0 \u200b")
@example("\x00 \x7f 👩\u200d👩\u200d👧 e\u0301 é ﬁ Ａ１ \ufeff")
def test_target_text_survives(text: str) -> None:
    assert SEPARATE.target.decode(SEPARATE.target.encode(text)) == spaced(text)


@given(st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF)))
def test_unseen_hanzi_survive_on_both_sides(text: str) -> None:
    for processor in (SEPARATE.source, SEPARATE.target, JOINT.source):
        assert processor.decode(processor.encode(text)) == text


def test_source_is_normalized_and_target_is_not() -> None:
    text = "Ａ１：ﬁ"
    assert unicodedata.normalize("NFKC", text) == "A1:fi"
    for vocabulary, side, expected in (
        (SEPARATE, "source", "A1:fi"),
        (SEPARATE, "target", text),
        (JOINT, "source", "A1:fi"),
    ):
        processor = getattr(vocabulary, side)
        assert processor.decode(processor.encode(text)) == expected


@given(st.text())
@example(SPECIAL_TEXT)
def test_text_never_becomes_a_special_token(text: str) -> None:
    for processor in (SEPARATE.source, SEPARATE.target, JOINT.source):
        assert all(3 < i < processor.vocab_size() for i in processor.encode(text))


@pytest.mark.parametrize("vocabulary", [SEPARATE, JOINT], ids=["separate", "joint"])
def test_special_ids_are_those_of_the_models(vocabulary: Vocabulary) -> None:
    for processor in (vocabulary.source, vocabulary.target):
        assert vocabulary.special_ids == {
            "pad_id": processor.pad_id(),
            "unk_id": processor.unk_id(),
            "bos_id": processor.bos_id(),
            "eos_id": processor.eos_id(),
        }
        assert processor.decode([2, *processor.encode("tea"), 3, 0, 0]) == "tea"


@pytest.mark.parametrize("vocabulary", [SEPARATE, JOINT], ids=["separate", "joint"])
def test_saved_and_loaded_is_the_same(vocabulary: Vocabulary, tmp_path: Path) -> None:
    vocabulary.save(tmp_path)
    joint = vocabulary is JOINT
    files = {SOURCE_FILE} if joint else {SOURCE_FILE, TARGET_FILE}
    assert {path.name for path in tmp_path.iterdir()} == files
    loaded = Vocabulary.load(tmp_path)
    assert (loaded.source is loaded.target) == joint
    for ours, theirs in ((loaded.source, vocabulary.source), (loaded.target, vocabulary.target)):
        assert ours.serialized_model_proto() == theirs.serialized_model_proto()


def test_joint_vocabulary_knows_both_sides() -> None:
    pieces = {JOINT.source.id_to_piece(i) for i in range(JOINT.source.vocab_size())}
    assert {"我", "。", "w", "."} <= pieces
    assert JOINT.source is JOINT.target


def test_size_is_an_upper_bound() -> None:
    assert SEPARATE.source.vocab_size() <= 300 and SEPARATE.target.vocab_size() <= 300
    huge = train_vocabulary(SOURCES, TARGETS, VocabularyRecipe(size=9000))
    assert 260 < huge.source.vocab_size() < 400


def test_size_below_the_bytes_is_refused() -> None:
    with pytest.raises(TrainError, match=r"vocabulary\.size 100 is too small") as caught:
        train_vocabulary(SOURCES, TARGETS, VocabularyRecipe(size=100))
    assert len(str(caught.value).splitlines()) == 1


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"source\.spm: not found; is this a checkpoint"):
        Vocabulary.load(tmp_path)
    SEPARATE.save(tmp_path)
    whole = (tmp_path / TARGET_FILE).read_bytes()
    for damaged in (b"no model", whole[: len(whole) // 2]):
        (tmp_path / TARGET_FILE).write_bytes(damaged)
        with pytest.raises(TrainError, match=r"target\.spm: not a SentencePiece model"):
            Vocabulary.load(tmp_path)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / SOURCE_FILE).write_bytes(b"")
    with pytest.raises(TrainError, match=r"source\.spm: not a SentencePiece model"):
        Vocabulary.load(tmp_path)


def test_vocabulary_of_another_model_is_refused() -> None:
    sizes = SEPARATE.source.vocab_size(), SEPARATE.target.vocab_size()
    fitting = TransformerConfig(source_vocab_size=sizes[0], target_vocab_size=sizes[1])
    SEPARATE.check(fitting)
    with pytest.raises(TrainError, match=rf"vocabularies of \({sizes[0]}, {sizes[1]}\) pieces"):
        SEPARATE.check(
            TransformerConfig(source_vocab_size=sizes[0], target_vocab_size=sizes[1] + 1)
        )


def test_stale_target_does_not_outlive_a_joint_vocabulary(tmp_path: Path) -> None:
    SEPARATE.save(tmp_path)
    JOINT.save(tmp_path)
    loaded = Vocabulary.load(tmp_path)
    assert loaded.source is loaded.target


def test_traditional_characters_are_read_as_simplified_ones() -> None:
    recipe = VocabularyRecipe(size=300, fold_traditional=True)
    folded = train_vocabulary(SOURCES, TARGETS, recipe)
    source = folded.source
    for traditional, simplified in (
        ("今天天氣很好。", "今天天气很好。"),
        ("我們去圖書館，妳呢？", "我们去图书馆，你呢？"),
        ("後面的皇后頭髮發亮", "后面的皇后头发发亮"),
    ):
        assert source.encode(traditional) == source.encode(simplified)
        assert SEPARATE.source.encode(traditional) != SEPARATE.source.encode(simplified)
        assert folded.target.decode(folded.target.encode(traditional)) == traditional


def test_folding_changes_nothing_else() -> None:
    folded = train_vocabulary(SOURCES, TARGETS, VocabularyRecipe(size=300, fold_traditional=True))
    simplified = opencc.OpenCC("t2s")
    for text in (
        "Ａ１：ﬁ ㈱ ｶﾞ",
        "a\t b\r\n\u3000c\u00a0 \u200b",
        "e\u0301 é",
        "👩\u200d👧 ＄５０",
    ):
        assert folded.source.normalize(text) == SEPARATE.source.normalize(text)
    for code in range(1, 0x30000):
        character = chr(code)
        if unicodedata.category(character) in ("Cn", "Co", "Cs"):
            continue
        expected = simplified.convert(SEPARATE.source.normalize(f"中{character}中"))
        expected = expected.replace("妳", "你")
        assert folded.source.normalize(f"中{character}中") == expected, hex(code)


def test_width_alone_leaves_what_is_to_be_copied() -> None:
    recipe = VocabularyRecipe(size=300, normalization="width")
    width = train_vocabulary(SOURCES, TARGETS, recipe).source
    for text in ("℃ ² ™ ﬁ Ⅳ ㈱ ½ …", "❤️ 👨\u200d👩\u200d👧 🇨🇳", "天氣，後面", "é ü"):
        assert width.decode(width.encode(text)) == text.replace("，", ",")
    assert width.normalize("Ａ１：ｶﾞ\u3000e\u0301\xa0x\tb") == "▁A1:ガ▁é▁x▁b"
    folded = train_vocabulary(
        SOURCES, TARGETS, VocabularyRecipe(size=300, normalization="width", fold_traditional=True)
    ).source
    assert folded.normalize("25℃，天氣") == "▁25℃,天气"


def test_folding_needs_opencc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opencc", None)
    with pytest.raises(TrainError, match=r"fold_traditional needs OpenCC: pip install"):
        train_vocabulary(SOURCES, TARGETS, VocabularyRecipe(size=300, fold_traditional=True))
