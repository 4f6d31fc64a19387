"""Translates with the onnxruntime that is installed, in both ways, and compares the two.

.ci/run calls it in an environment without torch, with the oldest onnxruntime that pyproject.toml
allows and with the newest: python tests/oldest_onnxruntime.py
"""

import sys

import onnxruntime

from tfm.runtime import Translator

# Short and long ones together: the step-by-step search then takes sentences out of its batch, and
# compacts its cache, while others go on.
SENTENCES = [
    "我爱你。",
    "我想喝一杯茶。",
    "他每天早上六点起床。",
    "如果明天下雨，我们就不去公园，而是在家里看一部很长的老电影。",
    "昨天我在图书馆遇见了我的老师，他问我最近在读什么书，我说我在读一本关于历史的书。",
]
FIRST_TRANSLATION = "love you"
TOLERANCE = 1e-4  # of a score; the ids must be equal


def translate(beam_size: int, *, step_by_step: bool) -> list[tuple[str, float]]:
    """Text and score of every hypothesis, by one graph or by one call per token."""
    translator = Translator(device="cpu", intra_threads=1)
    translator.model.searches_itself = not step_by_step
    translations = translator.translate_batch(
        SENTENCES, beam_size=beam_size, num_hypotheses=beam_size, max_length=64
    )
    return [
        (hypothesis.text, hypothesis.score)
        for translation in translations
        for hypothesis in translation.hypotheses
    ]


def difference(beam_size: int) -> str | None:
    """What is wrong with the translations of this beam size, or None."""
    by_graph = translate(beam_size, step_by_step=False)
    by_steps = translate(beam_size, step_by_step=True)
    if FIRST_TRANSLATION not in by_graph[0][0]:
        return f"{SENTENCES[0]} became {by_graph[0][0]!r}"
    for graph, steps in zip(by_graph, by_steps, strict=True):
        if graph[0] != steps[0] or abs(graph[1] - steps[1]) > TOLERANCE:
            return f"the graph gives {graph}, the steps give {steps}"
    return None


def main() -> int:
    """Exit status 0 if both ways agree, greedy and with a beam."""
    failures = 0
    for beam_size in (1, 4):
        message = difference(beam_size)
        failures += message is not None
        print(f"onnxruntime {onnxruntime.__version__}, beam {beam_size}: {message or 'ok'}")
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
