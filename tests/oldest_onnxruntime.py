"""Translates with the onnxruntime that is installed, by the graph and by steps, and compares.

.ci/run calls it in an environment without torch, with the oldest onnxruntime that pyproject.toml
allows and with the newest, and compares what both write:
python tests/oldest_onnxruntime.py FILE
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from tfm.runtime import Translator

# Short and long ones together: the step-by-step search then takes sentences out of its batch, and
# compacts its cache, while others go on. None is a close call between two translations: versions
# round differently (1.28 and 1.29 do), and that alone must change no text.
SENTENCES = [
    "我爱你。",
    "我想喝一杯茶。",
    "他每天早上六点起床。",
    "我的父亲在一家大公司工作，他每天很早就出门，很晚才回家。",
    "今天早上我和我的朋友一起去公园散步，然后我们在一家小饭馆吃了午饭。",
]
BEAM_SIZES = (1, 4)
OPTIONS: list[dict[str, Any]] = [
    {},
    {"num_hypotheses": 4},
    {"min_length": 12},
    {"repetition_penalty": 1.3},
    {"suppress_ids": (5, 17, 100)},
    {"no_repeat_ngram_size": 2},
    {"target_prefix": "Well"},
]
FIRST_TRANSLATION = "love you"
TOLERANCE = 1e-4  # of a score; the texts must be equal
REPEATS = 3  # memory that was freed too early may still hold the right numbers

Hypotheses = list[tuple[str, float]]


def translate(
    translator: Translator, sentences: Sequence[str], options: dict[str, Any]
) -> Hypotheses:
    """Text and score of every hypothesis."""
    return [
        (hypothesis.text, hypothesis.score)
        for translation in translator.translate_batch(sentences, max_length=64, **options)
        for hypothesis in translation.hypotheses
    ]


def first_difference(expected: Hypotheses, actual: Hypotheses) -> str | None:
    """The first hypothesis that is not the same, in words; None if all are."""
    if len(expected) != len(actual):
        return f"{len(expected)} hypotheses, then {len(actual)}"
    for one, other in zip(expected, actual, strict=True):
        # "not <=": a score that is not a number differs as well
        if one[0] != other[0] or not abs(one[1] - other[1]) <= TOLERANCE:
            return f"{one}, then {other}"
    return None


def main() -> int:
    """Exit status 1 if any translation differs between the two ways, or between repetitions."""
    by_graph = Translator(device="cpu", intra_threads=1)
    by_steps = Translator(device="cpu", intra_threads=1, by_steps=True)
    texts: list[str] = []
    failures = 0
    for beam_size in BEAM_SIZES:
        for changes in OPTIONS:
            if changes.get("num_hypotheses", 1) > beam_size:
                continue
            options = {"beam_size": beam_size, **changes}
            for sentences in (SENTENCES[:1], SENTENCES[-1:], SENTENCES):
                expected = translate(by_graph, sentences, options)
                texts += [f"{options}\t{text}" for text, _ in expected]
                for translator in [by_steps, by_graph] * REPEATS:
                    way = "steps" if translator is by_steps else "graph"
                    actual = translate(translator, sentences, options)
                    difference = first_difference(expected, actual)
                    if difference is not None:
                        failures += 1
                        print(f"{options}, {len(sentences)} sentences, by {way}: {difference}")
    if FIRST_TRANSLATION not in texts[0]:
        failures += 1
        print(f"{SENTENCES[0]} became {texts[0]!r}")
    Path(sys.argv[1]).write_text("\n".join(texts) + "\n", "utf-8")
    print(f"onnxruntime {onnxruntime.__version__}: {failures or 'no'} differences")
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
