"""Source words in the place of unknown tokens."""

from pathlib import Path

import numpy as np
import pytest

from tfm.runtime import Alignment, Translator
from tfm.runtime.search import ScoredIds
from tfm.runtime.token_translator import TokenTranslator
from tfm.runtime.unknown_words import replace_unknowns

UNK = 1


def aligned(source: str, target: list[str], reads: list[str]) -> Alignment:
    """Each target token stands where its text does, and looks at some part of the source; "" is
    EOS, which is none."""
    text = "".join(target)
    ends = np.cumsum([len(token) for token in target]).tolist()
    parts = sorted({read for read in reads if read}, key=source.index)
    spans = [(source.index(part), source.index(part) + len(part)) for part in parts]
    weights = np.zeros((len(target), len(parts) + 1), np.float32)
    for row, read in zip(weights, reads, strict=True):
        row[parts.index(read) if read else len(parts)] = 1
    return Alignment(
        source,
        text,
        (*spans, (len(source), len(source))),
        tuple((end - len(token), end) for token, end in zip(target, ends, strict=True)),
        weights,
    )


@pytest.mark.parametrize(
    ("source", "target", "reads", "expected"),
    [
        ("我爱Ørsted", ["I", " love", " ⁇ "], ["我", "爱", "Ørsted"], "I love Ørsted"),
        # The word that the token's part belongs to.
        ("Herr Müllermann kommt", [" ⁇ ", " comes"], ["mann", "kommt"], "Müllermann comes"),
        ("a b", ["x", " ⁇ ", " ⁇ ", "."], ["a", "a", "b", "b"], "x a b."),
        ("龘了", [" ⁇ ", "."], ["龘", "了"], "龘."),
        ("a b", ["x", " y"], ["a", "b"], "x y"),
    ],
)
def test_the_source_word_takes_its_place(
    source: str, target: list[str], reads: list[str], expected: str
) -> None:
    alignment = aligned(source, target, reads)
    ids = [UNK if "⁇" in token else 5 for token in target]
    assert replace_unknowns(alignment, ids, UNK) == expected


def test_what_looks_at_nothing_is_left_out() -> None:
    nothing = Alignment("", "a ⁇ ", (), ((0, 1), (1, 4)), np.zeros((2, 0), np.float32))
    assert replace_unknowns(nothing, [5, UNK], UNK) == "a"


def test_in_a_translation(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    translator = Translator(tiny_folder, variant="fp32")
    (one,) = translator.tokenizer.encode_target(["one"])
    unk_id = translator.config.special_ids.unk_id
    found = [[ScoredIds((*one, unk_id), -0.5)]]
    monkeypatch.setattr(TokenTranslator, "translate", lambda *_, **__: found)
    usual = translator.translate("three")
    assert "⁇" in usual.text
    replaced = translator.translate("three", replace_unknowns=True)
    assert replaced.text == "one three"
    assert replaced.hypotheses[0].score == -0.5
