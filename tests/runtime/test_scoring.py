"""score.onnx against PyTorch: log-probabilities, and what every head of every layer looks at."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.attention import reference

from tfm.runtime import ModelError
from tfm.runtime.config import ModelConfig
from tfm.runtime.device import Choice
from tfm.runtime.options import DecodingOptions
from tfm.runtime.scoring import score_ids
from tfm.runtime.sessions import Sessions
from tfm.trainer.model import Transformer

CLOSE = 1e-4


def random_pairs(
    model: Transformer, count: int, seed: int
) -> tuple[list[list[int]], list[list[int]]]:
    rng = np.random.default_rng(seed)
    config = model.config

    def ids(size: int) -> list[int]:
        return [*rng.integers(4, size, rng.integers(0, 12)).tolist(), config.eos_id]

    sources = [ids(config.source_vocab_size) for _ in range(count)]
    return sources, [ids(config.target_vocab_size) for _ in range(count)]


@pytest.fixture(params=["tiny", "pre", "ssru"])
def named(request: pytest.FixtureRequest) -> tuple[Transformer, Path]:
    """A model, and its folder."""
    model: Transformer = request.getfixturevalue(f"{request.param}_model")
    folder: Path = request.getfixturevalue(f"{request.param}_folder")
    return model, folder


def open_sessions(folder: Path, variant: str) -> Sessions:
    """A session may be of a folder without a vocabulary."""
    config = ModelConfig.load(folder)
    return Sessions(folder, config, Choice("cpu", variant, "for the test"), 1)


def test_float32_is_pytorch(named: tuple[Transformer, Path]) -> None:
    """In one padded batch, each pair as PyTorch computes it alone."""
    model, folder = named
    sessions = open_sessions(folder, "fp32")
    sources, targets = random_pairs(model, 20, seed=3)
    pairs = score_ids(ModelConfig.load(folder), sessions, sources, targets, with_attention=True)
    assert [list(pair.source) for pair in pairs] == sources
    for pair, source, target in zip(pairs, sources, targets, strict=True):
        log_probs, *layers = reference(model, source, target)
        assert pair.log_probs == pytest.approx(log_probs.tolist(), abs=CLOSE)
        attention = pair.attention
        assert attention is not None
        ours = attention.encoder, attention.decoder, attention.cross
        for found, expected in zip(ours, layers, strict=True):
            assert len(found) == len(expected)
            for layer, theirs in zip(found, expected, strict=True):
                np.testing.assert_allclose(layer, theirs.numpy(), atol=CLOSE)


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_it_scores_a_hypothesis_as_the_search_did(
    tiny_model: Transformer, tiny_folder: Path, variant: str
) -> None:
    """Of int8 too: what is scored is the deployed model, not the one it was made from."""
    config, sessions = ModelConfig.load(tiny_folder), open_sessions(tiny_folder, variant)
    sources, _ = random_pairs(tiny_model, 12, seed=4)
    options = DecodingOptions(beam_size=3, num_hypotheses=3, length_penalty=0, max_length=14)
    found = sessions.translate(sources, options)
    compared = 0
    for source, hypotheses in zip(sources, found, strict=True):
        ended = [h for h in hypotheses if len(h.ids) < options.max_length]
        targets = [[*hypothesis.ids, config.special_ids.eos_id] for hypothesis in ended]
        pairs = score_ids(config, sessions, [source] * len(targets), targets)
        for pair, hypothesis in zip(pairs, ended, strict=True):
            assert sum(pair.log_probs) == pytest.approx(hypothesis.score, abs=2e-3)
            compared += 1
    assert compared >= 12


def test_a_pair_does_not_depend_on_its_batch(tiny_model: Transformer, tiny_folder: Path) -> None:
    config, sessions = ModelConfig.load(tiny_folder), open_sessions(tiny_folder, "int8")
    sources, targets = random_pairs(tiny_model, 30, seed=5)
    together = score_ids(config, sessions, sources, targets)
    for pair, source, target in zip(together, sources, targets, strict=True):
        (alone,) = score_ids(config, sessions, [source], [target])
        assert pair.log_probs == pytest.approx(alone.log_probs, abs=CLOSE)


def test_a_large_vocabulary_makes_small_batches(
    tiny_model: Transformer, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, sessions = ModelConfig.load(tiny_folder), open_sessions(tiny_folder, "fp32")
    sources, targets = random_pairs(tiny_model, 30, seed=6)
    expected = score_ids(config, sessions, sources, targets)
    sizes = []
    score = sessions.score
    monkeypatch.setattr(sessions, "score", lambda *args: sizes.append(len(args[0])) or score(*args))
    vocabulary = config.architecture.target_vocab_size
    monkeypatch.setattr("tfm.runtime.scoring._MOST_LOGITS", 40 * vocabulary)
    pairs = score_ids(config, sessions, sources, targets)
    assert max(sizes) < 30 and sum(sizes) == 30
    for pair, other in zip(pairs, expected, strict=True):
        assert pair.log_probs == pytest.approx(other.log_probs, abs=CLOSE)


def test_an_older_folder_says_what_it_lacks(tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "older"
    shutil.copytree(tiny_folder, folder)
    content = json.loads((folder / "config.json").read_text("utf-8"))
    del content["variants"]["int8"]["score"]
    (folder / "config.json").write_text(json.dumps(content), "utf-8")
    config, sessions = ModelConfig.load(folder), open_sessions(folder, "int8")
    with pytest.raises(ModelError, match=r"has no score.onnx: an older tfm exported it"):
        score_ids(config, sessions, [[3]], [[3]])
    sessions.close()
    with pytest.raises(ValueError, match="closed"):
        score_ids(config, sessions, [[3]], [[3]])
