"""Many clients at the same time: each gets what it would get alone, and the memory stays."""

import threading

import pytest
from helpers.load import Load, mixed_texts, send
from helpers.paths import ROOT
from helpers.service import RunningService, until

from tfm.runtime import Translator
from tfm.runtime.documents import parse_text

SENTENCES = [
    line
    for line in (ROOT / "tests" / "bench" / "sentences" / "zh.txt").read_text("utf-8").splitlines()
    if line
]


def expected(texts: list[str]) -> list[str]:
    """Each text translated on its own, sentence by sentence."""
    with Translator("zh-en", intra_threads=1) as translator:
        sentences = sorted(
            {s.text for text in texts for s in parse_text(text, "zh", "en").segments}
        )
        by_text = {sentence: translator.translate(sentence) for sentence in sentences}
    documents = [parse_text(text, "zh", "en") for text in texts]
    return [d.assemble([by_text[s.text] for s in d.segments]) for d in documents]


def load(service: RunningService, count: int, connections: int) -> Load:
    texts = mixed_texts(SENTENCES, count)
    found = send(service, texts, connections)
    assert found.errors == []
    assert found.answers == expected(texts)
    return found


def test_each_gets_what_it_would_get_alone(service: RunningService) -> None:
    before = service.metric("tfm_batch_sentences_count"), service.metric("tfm_sentences_total")
    load(service, 120, 16)
    after = service.metric("tfm_batch_sentences_count"), service.metric("tfm_sentences_total")
    batches, sentences = after[0] - before[0], after[1] - before[1]
    assert sentences >= 120
    assert sentences / batches > 4  # they were translated together


@pytest.mark.slow
def test_two_thousand_requests(service: RunningService) -> None:
    load(service, 400, 32)  # whatever is made once has been made
    before = service.memory()
    load(service, 2000, 32)
    middle = service.memory()
    load(service, 2000, 32)
    assert service.memory() < 1.05 * middle
    assert middle < 1.15 * before


def test_a_list_is_one_batch(service: RunningService) -> None:
    before = service.metric("tfm_batch_sentences_count")
    texts = SENTENCES[:16]
    assert service.translate(texts)["translatedText"] == expected(texts)
    assert service.metric("tfm_batch_sentences_count") - before <= 4


def test_an_end_in_the_middle_loses_nothing() -> None:
    """Clients go on asking while SIGTERM comes: each answer is right, none is cut or an error."""
    from helpers.service import running_service

    texts = mixed_texts(SENTENCES, 400)
    with running_service("-m", "zh-en", "--threads", "1") as service:
        results: list[Load] = []
        sending = threading.Thread(target=lambda: results.append(send(service, texts, 16)))
        sending.start()
        until(lambda: service.metric("tfm_sentences_total") > 30)
        service.process.terminate()
        assert service.process.wait(30) == 0
        sending.join()
    (found,) = results
    answered = [index for index, answer in enumerate(found.answers) if answer is not None]
    assert 30 < len(answered) < len(texts)
    right = expected([texts[index] for index in answered])
    assert [found.answers[index] for index in answered] == right
    # Those who came later found nobody, and nothing else happened to anyone.
    assert {error.split(":")[0] for error in found.errors} <= {"ConnectionRefusedError"}
