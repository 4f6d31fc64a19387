"""The page's engine in Node: what it makes of sentences is what Python makes of them."""

from pathlib import Path

import pytest
from helpers.javascript import javascript, node_package
from helpers.numerals import chinese

from tfm.runtime import Translation, Translator
from tfm.runtime.ort_format import write_ort_folder
from tfm.runtime.placeholders import COPIED

SENTENCES = [chinese(number) for number in range(0, 9999, 333)]
SENTENCES += ["😀三千", "三百{x}五", "一 a@b.cd 二", "  ", ""]
REQUESTS = [
    {"beamSize": 1},
    {"beamSize": 4, "alignment": True, "doubts": True},
    {"alternatives": 3},
]


def expected_of(translation: Translation) -> dict:
    """What the engine says of a translation with alignment and doubts."""
    best = translation.hypotheses[0]
    alignment = translation.alignment
    assert alignment is not None
    return {
        "text": best.text,
        "tokens": list(best.tokens),
        "truncated": best.truncated,
        "doubts": list(translation.doubts),
        "alignment": [
            [*alignment.source_spans[source], *alignment.target_spans[target]]
            for source, target in alignment.pairs
        ],
    }


@pytest.fixture(scope="module")
def translator(tiny_folder: Path) -> Translator:
    return Translator(tiny_folder, variant="fp32", intra_threads=1)


@pytest.fixture(scope="module")
def answers(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list:
    node_package("onnxruntime-node")
    folder = tmp_path_factory.mktemp("ort")
    write_ort_folder(tiny_folder, folder, variant="fp32")
    found: list = javascript("model", folder=str(folder), sentences=SENTENCES, requests=REQUESTS)
    return found


def test_greedy_ids(translator: Translator, answers: list) -> None:
    expected = translator.translate_batch(SENTENCES, beam_size=1)
    tokens = [list(translation.hypotheses[0].tokens) for translation in expected]
    assert [greedy["tokens"] for greedy, _, _ in answers] == tokens
    assert len(set(map(tuple, tokens))) > 10


def test_beam_search_with_alignment_and_doubts(translator: Translator, answers: list) -> None:
    # Python searches once more where a translation repeats itself; the graph cannot.
    expected = translator.translate_batch(
        SENTENCES, beam_size=4, with_alignment=True, with_doubts=True
    )
    compared = 0
    for translation, (_, found, _) in zip(expected, answers, strict=True):
        if translation.retried or not translation.hypotheses[0].tokens:
            continue
        wanted = expected_of(translation)
        assert {key: found[key] for key in wanted} == wanted
        assert found["score"] == pytest.approx(translation.hypotheses[0].score, abs=1e-4)
        compared += 1
    assert compared > 10


def test_alternatives_are_the_other_hypotheses(translator: Translator, answers: list) -> None:
    expected = translator.translate_batch(SENTENCES, beam_size=4, num_hypotheses=4)
    for translation, (_, _, found) in zip(expected, answers, strict=True):
        texts = list(dict.fromkeys(hypothesis.text for hypothesis in translation.hypotheses))
        assert [found["text"], *(other["text"] for other in found["alternatives"])] == texts


def test_what_is_to_be_copied_is_put_back(translator: Translator, answers: list) -> None:
    plain = translator.translate_batch(SENTENCES, beam_size=4, placeholders=None)
    lost = [
        found["text"]
        for translation, (_, found, _) in zip(plain, answers, strict=True)
        if not COPIED.are_kept(translation.source, translation.text)
        and COPIED.are_kept(translation.source, found["text"])
    ]
    assert len(lost) >= 3


def test_sentences_without_words(answers: list) -> None:
    for found in answers[-1] + answers[-2]:
        assert (found["text"], found["tokens"], found["alternatives"]) == ("", [], [])
