"""BLEU is sacrebleu's, with the tokenizer that the target language needs."""

import json
import logging
import math
from pathlib import Path

import pytest
import sacrebleu
from helpers.models import tfm
from helpers.numerals import RECIPE, chinese, english

from tfm.trainer import checkpoint as files
from tfm.trainer.bleu import score, tokenizer_for


def test_parts_of_bleu_by_hand() -> None:
    scores = score(["a b c d e"], ["a b c d f"])
    assert scores.bleu_parts is not None
    assert scores.bleu_parts.precisions == pytest.approx([80, 75, 200 / 3, 50])
    assert scores.bleu_parts.brevity_penalty == 1
    assert scores.bleu == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    scores = score(["a b c d"], ["a b c d e"])
    assert scores.bleu_parts is not None
    assert scores.bleu_parts.brevity_penalty == pytest.approx(math.exp(1 - 5 / 4))
    assert scores.bleu == pytest.approx(100 * math.exp(1 - 5 / 4))
    parts = scores.bleu_parts
    assert (parts.hypothesis_length, parts.reference_length) == (4, 5)


def test_tokens_are_scored_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    """With "none" BLEU is multi-bleu's: "gold." is not "gold .", and nothing warns of tokens."""
    hypotheses = ["this is @-@ all that gold. gl@@ itters ."] * 120
    references = ["this is @-@ all that gold . gl@@ itters ."] * 120
    expected = sacrebleu.corpus_bleu(hypotheses, [references], force=True, tokenize="none")
    with caplog.at_level(logging.WARNING, "sacrebleu"):
        found = score(hypotheses, references, "zh", "none")
        assert caplog.text == ""
        score(hypotheses, references)
        assert "tokenized period" in caplog.text  # so that what was silent could have spoken
    assert found.bleu == expected.score
    assert "|tok:none|" in found.bleu_signature
    # Of 9 tokens for 10, one is wrong, and so is every longer n-gram that it is in.
    precisions = 8 / 9 * 6 / 8 * 4 / 7 * 2 / 6
    assert found.bleu == pytest.approx(100 * precisions**0.25 * math.exp(1 - 10 / 9))


@pytest.mark.parametrize(
    ("language", "name"),
    [
        *(("zh", "zh"), ("zho_Hans", "zh"), ("zh-CN", "zh"), ("cmn_Hant", "zh")),
        *(("en", "13a"), ("target", "13a"), ("", "13a"), ("zha", "13a")),
        *(("ja", "ja-mecab"), ("jpn_Jpan", "ja-mecab"), ("ko", "ko-mecab"), ("kor", "ko-mecab")),
    ],
)
def test_tokenizer_of_a_language(language: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import tfm.trainer.bleu as module

    monkeypatch.setattr(module, "find_spec", lambda _: object())
    assert tokenizer_for(language) == name
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    assert tokenizer_for(language) == ("char" if "mecab" in name else name)


def test_chinese_is_scored_by_characters() -> None:
    found = score(["他每天六点起床。"], ["他每天早上六点起床。"], "zh")
    expected = sacrebleu.corpus_bleu(
        ["他每天六点起床。"], [["他每天早上六点起床。"]], tokenize="zh"
    )
    assert found.bleu == expected.score
    assert found.bleu > 40 > score(["他每天六点起床。"], ["他每天早上六点起床。"]).bleu


def test_training_into_chinese_validates_by_characters(tmp_path: Path) -> None:
    for name, numbers in (("train", range(1000, 2000)), ("valid", range(40))):
        lines = (f"{english(n)}\t{chinese(n)}\n" for n in numbers)
        (tmp_path / f"{name}.tsv").write_text("".join(lines), "utf-8")
    recipe = RECIPE.replace('target_language = "en"', 'target_language = "zh"')
    recipe = recipe.replace("max_steps = 800", "max_steps = 1")
    recipe = recipe.replace("cooldown_steps = 400", "cooldown_steps = 0")
    (tmp_path / "recipe.toml").write_text(recipe, "utf-8")
    tfm("train", str(tmp_path / "recipe.toml"), "--out", str(tmp_path / "out"))
    lines = (tmp_path / "out" / files.METRICS).read_text("utf-8").splitlines()
    assert "|tok:zh|" in json.loads(lines[-1])["bleu_signature"]
