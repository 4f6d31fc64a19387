"""Choosing the heads that align words, by words that both sides of a pair have."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tfm.export.evaluation.alignment import (
    SharedWord,
    aligned_share,
    choose_heads,
    find_shared_words,
    shared_words,
)
from tfm.runtime import Translator
from tfm.runtime.alignment_heads import AlignmentHeads
from tfm.runtime.tokenizer import Tokenizer


def test_words_that_are_once_on_both_sides() -> None:
    source = "用 pip install tfm==0.2 安装 Python 3.11，再用 pip。"
    target = "Install tfm==0.2 with pip for Python 3.11."
    found = {source[a:b]: target[c:d] for (a, b), (c, d) in shared_words(source, target)}
    assert found == {"tfm": "tfm", "0.2": "0.2", "Python": "Python", "3.11": "3.11"}
    assert shared_words("", "one") == []


def planted(right: tuple[int, int, bool], count: int, seed: int) -> list[SharedWord]:
    """Words that one head of one layer aligns, at the step that reads them or writes them; the
    other heads look elsewhere."""
    rng = np.random.default_rng(seed)
    words = []
    for _ in range(count):
        cross = rng.random((2, 3, 7, 9)).astype(np.float32)
        target, source = rng.integers(0, 6), rng.integers(0, 8)
        cross[:, :, target : target + 2, source] = 0
        layer, head, next_step = right
        cross[layer, head, target + next_step, source] = 2
        words.append(SharedWord(cross, np.arange(9) == source, np.arange(7) == target))
    return words


@pytest.mark.parametrize("right", [(0, 1, False), (1, 2, False), (0, 0, True), (1, 1, True)])
def test_the_best_head_is_found(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, right: tuple[int, int, bool]
) -> None:
    layer, head, next_step = right
    words = planted(right, 40, seed=1)
    wanted = AlignmentHeads(layer=layer, heads=(head,), from_next_step=next_step)
    assert aligned_share(words, wanted) == 1.0
    translator = Translator(tiny_folder, variant="fp32")
    config = translator.config
    shape = dataclasses.replace(config.architecture, num_heads=3, decoder_layers=2, d_model=48)
    changed = dataclasses.replace(config, architecture=shape)
    monkeypatch.setattr("tfm.export.evaluation.alignment.find_shared_words", lambda *_: iter(words))
    choice = choose_heads(
        changed, translator.sessions, Tokenizer(tiny_folder, config), ["a"], ["b"]
    )
    assert choice is not None
    assert (choice.heads, choice.accuracy, choice.words) == (wanted, 1.0, 40)
    few = words[:10]
    monkeypatch.setattr("tfm.export.evaluation.alignment.find_shared_words", lambda *_: iter(few))
    assert (
        choose_heads(changed, translator.sessions, Tokenizer(tiny_folder, config), ["a"], ["b"])
        is None
    )


def test_shared_words_of_real_pairs(tiny_folder: Path) -> None:
    """Their tokens are those of the word, on both sides."""
    translator = Translator(tiny_folder, variant="fp32")
    tokenizer = Tokenizer(tiny_folder, translator.config)
    pairs = [("one two 75 three", "75 hundred"), ("none", "shared"), ("", "one")]
    (word,) = find_shared_words(
        translator.config, translator.sessions, tokenizer, *map(list, zip(*pairs, strict=True))
    )
    source, _ = pairs[0]
    (ids,) = tokenizer.encode([source])
    spans = tokenizer.source_spans(source, ids)
    text = {source[a:b] for (a, b), own in zip(spans, word.source_tokens, strict=True) if own}
    assert text and all(part.strip() and part.strip() in "75" for part in text)
    assert word.cross.shape[2:] == (len(word.target_tokens), len(word.source_tokens))
    assert word.target_tokens.any() and not word.target_tokens[-1]
