"""Sentences in capitals are read in small letters; all else is left alone."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfm.runtime import Translator
from tfm.runtime.capitals import fold_capitals
from tfm.runtime.config import ModelConfig
from tfm.runtime.tokenizer import Tokenizer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("WHERE IS THE STATION?", "Where is the station?"),
        ('"I AM LATE," HE SAID.', '"I am late," he said.'),
        ("WHAT DID I SAY?", "What did I say?"),
        ("DON'T TOUCH IT!", "Don't touch it!"),
        ("我说 GOOD MORNING", "我说 Good morning"),
        ("TAKE BUS G7 OR COVID-19", "Take bus G7 or covid-19"),
        ("OÙ EST LA GARE ?", "Où est la gare ?"),
        ("ДОБРОЕ УТРО", "Доброе утро"),
        ("USA", "USA"),
        ("HELLO", "HELLO"),
        ("IT OK", "IT OK"),
        ("THE iPHONE IS NEW", "THE iPHONE IS NEW"),
        ("Where is it?", "Where is it?"),
        ("你好。", "你好。"),
        ("A1 B2 C3 D4 E5 F6", "A1 B2 C3 D4 E5 F6"),
        ("İSTANBUL IS BIG", "İstanbul is big"),
        ("", ""),
    ],
)
def test_what_is_folded(text: str, expected: str) -> None:
    assert fold_capitals(text) == expected


@given(st.text(max_size=30) | st.text("AB I1'ß.\u0130", max_size=30))
def test_every_character_stays_in_its_place(text: str) -> None:
    folded = fold_capitals(text)
    assert len(folded) == len(text)
    assert all(a == b or a.lower() == b for a, b in zip(text, folded, strict=True))
    assert fold_capitals(folded) == folded


@pytest.mark.parametrize("fold", [True, False])
def test_the_model_says_whether_its_sources_are_folded(tiny_folder: Path, fold: bool) -> None:
    config = dataclasses.replace(ModelConfig.load(tiny_folder), fold_capitals=fold)
    tokenizer = Tokenizer(tiny_folder, config)
    capitals, small = "THREE TWO ONE", "Three two one"
    (of_capitals,), (of_small,) = tokenizer.encode([capitals]), tokenizer.encode([small])
    assert (of_capitals == of_small) == fold
    spans = tokenizer.source_spans(capitals, of_capitals)
    assert spans[-1] == (len(capitals), len(capitals)) and len(spans) == len(of_capitals)
    plain = ModelConfig.load(tiny_folder)
    assert (config.fingerprint("int8") == plain.fingerprint("int8")) == (not fold)


def test_the_translation_keeps_the_sentence_it_was_given(tiny_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "folding"))
    dataclasses.replace(ModelConfig.load(folder), fold_capitals=True).save(folder)
    with Translator(folder, device="cpu") as translator:
        found = translator.translate("THREE TWO ONE")
        assert found.source == "THREE TWO ONE"
        assert found.hypotheses == translator.translate("Three two one").hypotheses
