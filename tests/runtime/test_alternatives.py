"""Alternatives at a place of a translation: CTranslate2's on the same weights, and brute force."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.command import tfm
from helpers.ctranslate2_reference import Reference
from helpers.languages import log_softmax, model_language

from tfm.runtime import Translator
from tfm.runtime.alternatives import AlternativeIds, check_alternatives, find_alternatives
from tfm.runtime.config import ModelConfig
from tfm.runtime.options import DecodingOptions
from tfm.runtime.sessions import Sessions
from tfm.runtime.token_translator import TokenTranslator
from tfm.trainer.model import Transformer

OPTIONS: list[dict[str, Any]] = [
    {"beam_size": 1},
    {"beam_size": 1, "max_length": 2},
    {"beam_size": 2},
    {"beam_size": 4, "max_length": 7, "min_length": 4},
    {"beam_size": 3, "suppress_ids": (5, 20, 30)},
]
PREFIXES = [(), (7,), (9, 21, 9)]


@pytest.fixture(scope="module", params=["tiny", "pre"])
def model(request: pytest.FixtureRequest) -> tuple[Transformer, Sessions, ModelConfig, Reference]:
    model: Transformer = request.getfixturevalue(f"{request.param}_model")
    folder: Path = request.getfixturevalue(f"{request.param}_folder")
    config = ModelConfig.load(folder)
    sessions = Sessions.open(folder, config, device="cpu", variant="fp32", intra_threads=1)
    converted = request.getfixturevalue("tmp_path_factory").mktemp("ctranslate2") / "model"
    return model, sessions, config, Reference(model, converted)


def random_sources(config: ModelConfig) -> list[list[int]]:
    rng = np.random.default_rng(3)
    size = config.architecture.source_vocab_size
    eos_id = config.special_ids.eos_id
    return [[*rng.integers(4, size, length).tolist(), eos_id] for length in (1, 4, 9)]


@pytest.mark.parametrize("by_steps", [False, True])
@pytest.mark.parametrize("changes", OPTIONS, ids=str)
def test_the_tokens_are_ctranslate2s(model: Any, by_steps: bool, changes: dict[str, Any]) -> None:
    _, sessions, config, reference = model
    translator = TokenTranslator(config, sessions, by_steps=by_steps)
    options = DecodingOptions(**{"max_length": 12, "length_penalty": 0.0, **changes})
    for source in random_sources(config):
        for prefix in PREFIXES:
            first = find_alternatives(translator, source, options, prefix, 4)
            between = (first[1].probability + first[2].probability) / 2
            # Where none is left, CTranslate2 would end the process.
            for least in (0.0, between):
                found = find_alternatives(translator, source, options, prefix, 4, least)
                expected = reference.alternatives(source, options, prefix, 4, least)
                assert [one.ids for one in found] == [ids for ids, _ in expected]
                assert [one.score for one in found] == pytest.approx(
                    [score for _, score in expected], abs=1e-3
                )
                assert len(found) == (2 if least else 4)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("max_length", [1, 2, 9])
def test_score_and_probability_are_the_models(model: Any, penalty: float, max_length: int) -> None:
    transformer, sessions, config, _ = model
    translator = TokenTranslator(config, sessions, by_steps=False)
    options = DecodingOptions(length_penalty=penalty, max_length=max_length)
    eos_id = config.special_ids.eos_id
    for source in random_sources(config):
        language = model_language(transformer, source)
        for prefix in ((), (9, 21)):
            found = find_alternatives(translator, source, options, prefix, 3)
            logits = language(prefix).copy()
            logits[eos_id] = -np.inf
            first = log_softmax(logits)
            assert [one.ids[0] for one in found] == np.argsort(-first, kind="stable")[:3].tolist()
            for one in found:
                total = first[one.ids[0]]
                assert one.probability == pytest.approx(math.exp(total), abs=1e-5)
                ends = () if len(one.ids) == max_length else (eos_id,)
                tokens = (*one.ids, *ends)
                for place in range(1, len(tokens)):
                    before = (*prefix, *tokens[:place])
                    total += log_softmax(language(before))[tokens[place]]
                score = total / (len(prefix) + len(tokens)) ** penalty
                assert one.score == pytest.approx(score, abs=1e-4)


def test_length_limits_count_the_first_token(model: Any) -> None:
    _, sessions, config, _ = model
    translator = TokenTranslator(config, sessions, by_steps=False)
    source = random_sources(config)[0]

    def lengths(**changes: Any) -> set[int]:
        options = DecodingOptions(**changes)
        found: list[AlternativeIds] = find_alternatives(translator, source, options, (7,), 5)
        return {len(one.ids) for one in found}

    assert lengths(max_length=1) == {1}
    assert lengths(max_length=6, min_length=6) == {6}
    assert max(lengths(max_length_factor=0.1)) <= 8


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator(intra_threads=1)


def test_texts_after_a_prefix(translator: Translator) -> None:
    found = translator.alternatives("我想喝一杯茶。", 4, target_prefix="I")
    assert all(one.text.startswith("I") and "tea" in one.text for one in found[:2])
    assert len({one.text for one in found}) == len(found)
    probabilities = [one.probability for one in found]
    assert probabilities == sorted(probabilities, reverse=True)
    plain = translator.translate("我想喝一杯茶。", target_prefix="I").hypotheses[0]
    (same,) = [one for one in found if one.tokens == plain.tokens]
    assert same.score == pytest.approx(plain.score, abs=1e-3)
    likely = translator.alternatives("我想喝一杯茶。", 4, target_prefix="I", min_probability=0.5)
    assert [one.text for one in likely] == [found[0].text]
    assert all(
        not one.text.startswith("I want")
        for one in translator.alternatives("我想喝一杯茶。", 4, suppress_texts=["I want"])
    )


def test_alternatives_are_sampled_too(translator: Translator) -> None:
    options = {"temperature": 1.5, "target_prefix": "I"}
    first, second = (
        translator.alternatives("我想喝一杯茶。", 3, seed=seed, **options) for seed in (1, 2)
    )
    assert [one.tokens[1] for one in first] == [one.tokens[1] for one in second]
    assert [one.text for one in first] != [one.text for one in second]


def test_nothing_to_translate_and_wrong_arguments(translator: Translator) -> None:
    assert translator.alternatives(" ") == []
    for count in (0, True, "5"):
        with pytest.raises(ValueError, match=r"count is .*: it must be a whole number"):
            translator.alternatives("好", count)
    for least in (-0.1, 1.5, math.nan, "1"):
        with pytest.raises(ValueError, match=r"min_probability is .*: it must be from 0 to 1"):
            translator.alternatives("好", min_probability=least)
    with pytest.raises(TypeError, match="no decoding option"):
        translator.alternatives("好", beams=2)


def test_the_command_writes_them_and_resumes(tmp_path: Path) -> None:
    arguments = ["run", "--alternatives", "2", "--target-prefix", "I"]
    status, stdout, stderr = tfm(*arguments, "我爱你。", "", "我想喝一杯茶。")
    assert (status, stderr) == (0, "")
    rows = [line.split(" ||| ") for line in stdout.splitlines()]
    assert [row[0] for row in rows] == ["0", "0", "1", "2", "2"]
    assert [rows[0][1], rows[2][1:]] == ["I love you.", ["", "0.000000"]]
    assert 1 > float(rows[0][2]) > float(rows[1][2]) > 0

    lines, output = tmp_path / "lines", tmp_path / "output"
    lines.write_text("我爱你。\n我想喝一杯茶。\n", "utf-8")
    arguments += ["-i", str(lines), "-o", str(output), "--resume"]
    assert tfm(*arguments)[0] == 0
    assert len(output.read_text("utf-8").splitlines()) == 4
    assert tfm(*arguments) == (
        0,
        "",
        f"{output} is complete; leave out --resume to make it anew\n",
    )


def test_numbers_of_numpy_are_numbers() -> None:
    count: Any = np.int64(2)
    check_alternatives(count, float(np.float32(0.5)))
    for wrong in (np.int64(0), np.float64(2.0), True):
        with pytest.raises(ValueError, match="it must be a whole number, at least 1"):
            check_alternatives(wrong, 0.0)  # type: ignore[arg-type]
