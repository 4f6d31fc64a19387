"""Hypotheses in the order of two models."""

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.command import tfm

from tfm.runtime import Hypothesis, Reranker, Translation, Translator
from tfm.runtime.config import Languages
from tfm.runtime.pair_scorer import LongTargetError, Score
from tfm.runtime.reranking import DEFAULT_WEIGHT


class Reverse:
    """Gives every text the mean log-probability that the test says."""

    config = SimpleNamespace(
        name="en-zh",
        languages=Languages(source="en", target="zh", language_token="none", language_ids={}),
    )

    def __init__(self, means: dict[str, float]) -> None:
        self._means = means
        self.asked: list[tuple[str, str]] = []

    def score_batch(
        self, sources: Sequence[str], targets: Sequence[str], **languages: Any
    ) -> list[Score]:
        assert languages == {"source_language": "en", "target_language": "zh"}
        if long := [place for place, target in enumerate(targets) if len(target) > 9]:
            raise LongTargetError(long, "too many tokens")
        self.asked += zip(sources, targets, strict=True)
        return [
            Score(s, t, ("x",) if s else (), ("a", "b"), (2 * self._means[s], 0.0)[: 2 * bool(s)])
            for s, t in zip(sources, targets, strict=True)
        ]


def translation(source: str, scores: dict[str, float]) -> Translation:
    return Translation(source, tuple(Hypothesis(t, score, ()) for t, score in scores.items()))


MEANS = {"good": -0.5, "bad": -3.0, "fair": -1.0, "": math.nan}


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (0.0, ["bad", "good", "fair", ""]),  # only its own score
        (0.25, ["good", "bad", "fair", ""]),
        (0.5, ["good", "fair", "bad", ""]),
        (1.0, ["good", "fair", "bad", ""]),  # only the other's
    ],
)
def test_both_opinions_count_as_the_weight_says(weight: float, expected: list[str]) -> None:
    scores = {"bad": -0.6, "good": -0.8, "fair": -1.6, "": -1.7}
    reranker = Reranker(Reverse(MEANS), weight)  # type: ignore[arg-type]
    (found,) = reranker.rerank([translation("源", scores)], "zh", "en")
    assert [hypothesis.text for hypothesis in found.hypotheses] == expected
    assert {h.text: h.score for h in found.hypotheses} == scores


def test_one_hypothesis_needs_no_opinion() -> None:
    reverse = Reverse(MEANS)
    several = translation("源", {"bad": -1.0, "good": -1.1})
    single = translation("一", {"bad": -1.0})
    found = Reranker(reverse).rerank([single, several], "zh", "en")  # type: ignore[arg-type]
    assert found[0] == single and found[1].text == "good"
    assert reverse.asked == [("bad", "源"), ("good", "源")]


def test_only_what_was_translated_is_asked_about() -> None:
    """And nothing about what is still too long for the reverse model."""
    reverse: Any = Reverse(MEANS)
    scores = {"bad": -1.0, "good": -1.1}
    plain = [translation("源" * 12, scores), translation("字" * 12, scores)]
    found = Reranker(reverse).rerank(plain, "zh", "en", ["源" * 9, "字" * 10])
    assert [t.text for t in found] == ["good", "bad"]
    assert [t.source for t in found] == ["源" * 12, "字" * 12]
    assert reverse.asked == [("bad", "源" * 9), ("good", "源" * 9)]


def test_mistakes() -> None:
    reverse: Any = Reverse(MEANS)
    for weight in (-0.1, 1.5, "much"):
        with pytest.raises(ValueError, match="must be a number from 0 to 1"):
            Reranker(reverse, weight)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="en-zh does not translate from zh to en"):
        Reranker(reverse).check("en", "zh")
    Reranker(reverse).check("zh", "en")


def test_the_bundled_models_rerank_each_other() -> None:
    """By the numbers that both give; as many hypotheses as were asked for."""
    sentences = ["今天天气很好，我们去公园吧。", ""]
    forward, reverse = Translator("zh-en"), Translator("en-zh")
    found = forward.translate_batch(
        sentences, reranker=Reranker(reverse, 0.5), beam_size=4, num_hypotheses=2
    )
    assert [len(t.hypotheses) for t in found] == [2, 1]
    four = forward.translate(sentences[0], beam_size=4, num_hypotheses=4).hypotheses
    values = {}
    for hypothesis in four:
        back = reverse.score(hypothesis.text, sentences[0])
        values[hypothesis.text] = hypothesis.score / 2 + back.total / len(back.log_probs) / 2
    order = sorted(values, key=lambda text: -values[text])
    assert [hypothesis.text for hypothesis in found[0].hypotheses] == order[:2]
    status, stdout, _ = tfm("run", "--rerank-with", "en-zh", "--rerank-weight", "0.5", *sentences)
    assert (status, stdout) == (0, order[0] + "\n\n")


def test_the_command_line() -> None:
    status, stdout, stderr = tfm("run", "--rerank-with", "zh-en", "好")
    assert (status, stdout) == (2, "")
    assert "zh-en does not translate from en to zh: it cannot rerank" in stderr
    status, stdout, _ = tfm("run", "--help")
    assert status == 0
    assert f"opinion counts. [default: {DEFAULT_WEIGHT}]" in " ".join(stdout.split())
