"""What a page shows is what PyTorch computes, and what the translator says."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import tiny
from helpers.attention import reference
from helpers.numerals import chinese

from tfm.runtime import TfmError, Translator
from tfm.runtime.alignment import alignment_weights
from tfm.runtime.alignment_heads import AlignmentHeads
from tfm.runtime.config import POSITIONS
from tfm.runtime.explain import explain, facts
from tfm.runtime.explain.sinusoids import sinusoids
from tfm.runtime.search_tree import Fate
from tfm.trainer.config import TransformerConfig
from tfm.trainer.model import Transformer
from tfm.trainer.positions import sinusoidal_positions

SENTENCE = chinese(3052)


@pytest.fixture(scope="module")
def translator(tiny_folder: Path) -> Translator:
    return Translator(tiny_folder, variant="fp32", intra_threads=1)


@pytest.mark.parametrize("target", [None, "three thousand", ""])
def test_pytorch_says_the_same(
    tiny_model: Transformer, translator: Translator, target: str | None
) -> None:
    explanation = explain(translator, SENTENCE, target, max_length=16)
    tokenizer, eos_id = translator.tokenizer, translator.config.special_ids.eos_id
    (source,) = tokenizer.encode([SENTENCE])
    if target is None:
        hypothesis = translator.translate(SENTENCE, max_length=16).hypotheses[0]
        ids = [*hypothesis.tokens, *([] if hypothesis.truncated else [eos_id])]
        assert (explanation.target, explanation.own) == (hypothesis.text, True)
        assert explanation.own_score == hypothesis.score
    else:
        ids = [*tokenizer.encode_target([target])[0], eos_id]
        assert (explanation.target, explanation.own) == (target, False)
    assert explanation.source_tokens == tokenizer.pieces(source, of_source=True)
    assert explanation.target_tokens == tokenizer.pieces(ids, of_source=False)
    log_probs, encoder, decoder, cross = reference(tiny_model, source, ids)
    assert explanation.log_probs == pytest.approx(log_probs.tolist(), abs=1e-4)
    attention = explanation.attention
    for ours, theirs in (
        (attention.encoder, encoder),
        (attention.decoder, decoder),
        (attention.cross, cross),
    ):
        np.testing.assert_allclose(ours, torch.stack(theirs).numpy(), atol=1e-4)
        np.testing.assert_allclose(ours.sum(axis=3), 1, atol=1e-5)


def test_json_has_the_same_numbers(translator: Translator) -> None:
    explanation = explain(translator, SENTENCE, beam_size=3, max_length=16)
    data = json.loads(json.dumps(explanation.to_json()))
    assert data["target_tokens"] == list(explanation.target_tokens)
    assert data["log_probs"] == pytest.approx(explanation.log_probs, abs=1e-4)
    for name in ("encoder", "decoder", "cross"):
        found = np.array(data["attention"][name]) / data["attention"]["scale"]
        np.testing.assert_allclose(found, getattr(explanation.attention, name), atol=6e-5)
    weights = np.array(data["alignment"]["weights"]) / data["attention"]["scale"]
    np.testing.assert_allclose(weights, explanation.alignment, atol=6e-5)
    waves = np.array(data["positions"]["values"]) / data["positions"]["scale"]
    np.testing.assert_allclose(waves, explanation.waves, atol=6e-3)
    assert data["options"] == {"beam_size": 3, "length_penalty": 1.0, "max_length": 16}


def test_the_winner_of_the_tree_is_the_translation(translator: Translator) -> None:
    explanation = explain(translator, SENTENCE, "seven", beam_size=4)
    best = translator.translate(SENTENCE, beam_size=4).hypotheses[0]
    assert (explanation.own_translation, explanation.own_score) == (best.text, best.score)
    search = explanation.to_json()["search"]
    places, steps = search["path"], search["steps"]
    line = [nodes[place] for nodes, place in zip(steps, places, strict=False)]
    assert line[-1]["fate"] == Fate.FINISHED
    assert line[-1]["final"] == pytest.approx(best.score, abs=1e-4)
    written = translator.tokenizer.pieces(best.tokens, of_source=False)
    assert tuple(node["token"] for node in line if node["token"] != "</s>") == written
    assert [node["parent"] for node in line] == [None, *places[:-1]]
    for nodes, before in zip(steps[1:], steps[:-1], strict=True):
        for node in nodes:
            parent = before[node["parent"]]
            assert parent["fate"] == Fate.KEPT
            assert node["score"] == pytest.approx(parent["score"] + node["log_prob"], abs=2e-4)


def test_alignment_is_that_of_the_chosen_heads(
    translator: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = AlignmentHeads(layer=1, heads=(0, 2), from_next_step=True)
    monkeypatch.setattr(facts, "default_heads", lambda *_: heads)
    explanation = explain(translator, SENTENCE, "one two")
    expected = alignment_weights(explanation.attention.cross, heads)
    np.testing.assert_array_equal(explanation.alignment[:-1], expected)
    assert not explanation.alignment[-1].any()
    assert explanation.heads == heads


def test_a_prefix_is_given(translator: Translator) -> None:
    explanation = explain(translator, SENTENCE, target_prefix="one", max_length=6)
    prefix = translator.tokenizer.encode_target_prefix("one")
    assert explanation.given == len(prefix) > 0
    assert explanation.tree is not None and explanation.tree.prefix == tuple(prefix)
    assert explanation.target.startswith("one")


def test_a_text_that_was_cut_has_no_end(translator: Translator) -> None:
    explanation = explain(translator, SENTENCE, max_length=2, min_length=2)
    assert len(explanation.target_tokens) == 2
    assert "</s>" not in explanation.target_tokens


def test_sampling_has_no_tree(translator: Translator) -> None:
    explanation = explain(translator, SENTENCE, temperature=1.0, seed=4, max_length=9)
    drawn = translator.translate(SENTENCE, temperature=1.0, seed=4, max_length=9)
    assert explanation.target == drawn.text
    assert explanation.to_json()["search"] is None
    assert "beam_size" not in explanation.options


@pytest.mark.parametrize("kind", POSITIONS)
@pytest.mark.parametrize("first", [0, 2])
def test_sinusoids_are_the_trainers(kind: str, first: int) -> None:
    config = TransformerConfig(
        source_vocab_size=9,
        target_vocab_size=9,
        d_model=24,
        num_heads=2,
        positions=kind,  # type: ignore[arg-type]
        first_position=first,
    )
    theirs = sinusoidal_positions(torch.arange(50, dtype=torch.float64), config)
    np.testing.assert_allclose(sinusoids(50, 24, kind, first), theirs.numpy(), atol=1e-6)


def test_the_export_says_which_positions(translator: Translator, tiny_model: Transformer) -> None:
    assert translator.config.architecture.positions == tiny_model.config.positions
    explanation = explain(translator, SENTENCE)
    rows = max(len(explanation.source_tokens), len(explanation.target_tokens))
    positions = torch.arange(rows, dtype=torch.float32)
    theirs = sinusoidal_positions(positions, tiny_model.config).numpy()
    np.testing.assert_allclose(explanation.waves, theirs, atol=1e-5)


def test_a_language_that_the_source_names(tiny_folder: Path, tmp_path: Path) -> None:
    tiny.write_tiny_multilingual_folder(tmp_path / "many", tiny_folder)
    many = Translator(tmp_path / "many", variant="fp32", intra_threads=1)
    explanation = explain(many, SENTENCE, target_language="fr", max_length=9)
    assert explanation.target == many.translate(SENTENCE, target_language="fr", max_length=9).text
    assert explanation.source_tokens[0] == many.tokenizer.pieces([21], of_source=True)[0]
    assert explanation.model["target_language"] == "fr"


@pytest.mark.parametrize("sentence", ["", "   "])
def test_nothing_to_explain(translator: Translator, sentence: str) -> None:
    with pytest.raises(TfmError, match="nothing to explain: the sentence has no text"):
        explain(translator, sentence)


def test_too_much_for_a_page(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TfmError, match="33 beams are too many to be seen: at most 32"):
        explain(translator, SENTENCE, beam_size=33)
    monkeypatch.setattr(facts, "MOST_WEIGHTS", 100)
    with pytest.raises(TfmError, match="at most 100: explain a shorter sentence"):
        explain(translator, SENTENCE)
