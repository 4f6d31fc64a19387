"""The service's own API: events in their order, and what each says of its sentence."""

import json
from typing import Any

import pytest
from helpers.service import RunningService

from tfm.runtime import Translator

TEXT = "我爱你。\n今天天气很好。🙂"


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator(intra_threads=1)


def events(service: RunningService, **body: Any) -> list[tuple[str, dict[str, Any]]]:
    question = {"q": TEXT, "source": "auto", "target": "en", **body}
    status, text, headers = service.ask(
        "/tfm/translate", question, headers={"Accept": "text/event-stream"}
    )
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    found = []
    for event in text.removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_events_and_one_answer_say_the_same(service: RunningService) -> None:
    start, *sentences, end = events(service)
    assert start == (
        "start",
        {
            "source": "zh",
            "target": "en",
            "sentences": [
                {"index": 0, "begin": 0, "end": 4},
                {"index": 1, "begin": 5, "end": 12},
            ],
        },
    )
    assert [(name, data["index"]) for name, data in sentences] == [("sentence", 0), ("sentence", 1)]
    _, answer, _ = service.ask("/tfm/translate", {"q": TEXT, "source": "auto", "target": "en"})
    assert answer == {
        "source": "zh",
        "target": "en",
        "sentences": [data for _, data in sentences],
        "text": end[1]["text"],
    }
    assert end[0] == "end"
    assert end[1]["text"] == "\n".join(data["text"] for _, data in sentences) + "🙂"


def test_what_each_sentence_says(service: RunningService, translator: Translator) -> None:
    _, (_, first), *_ = events(service, alternatives=2, alignment=True, doubts=True)
    expected = translator.translate(
        "我爱你。", num_hypotheses=4, with_alignment=True, with_doubts=True
    )
    assert first["text"] == expected.text
    assert first["score"] == pytest.approx(expected.hypotheses[0].score, abs=1e-2)
    assert first["truncated"] is False
    others = dict.fromkeys(h.text for h in expected.hypotheses[1:] if h.text != expected.text)
    assert [other["text"] for other in first["alternatives"]] == list(others)[:2]
    assert first["doubts"] == list(expected.doubts)
    aligned = {
        (TEXT[begin:end], first["text"][first_:last])
        for begin, end, first_, last in first["alignment"]
    }
    assert any("爱" in source and "love" in target for source, target in aligned)
    _, (_, plain), *_ = events(service)
    assert (plain["alignment"], plain["alternatives"], plain["doubts"]) == (None, [], [])


def test_partial_texts_are_beginnings(service: RunningService) -> None:
    text = "他每天早上六点起床，然后去公园跑步，再回家吃早饭，最后坐地铁去公司上班。" * 6
    text = "\n".join([text] * 12)  # a batch that takes a while
    found = events(service, q=text, partial=True)
    partial = [data for name, data in found if name == "partial"]
    sentences = {data["index"]: data["text"] for name, data in found if name == "sentence"}
    assert partial  # the first sentence waits for its batch, and is seen before
    for data in partial:
        assert sentences[data["index"]].startswith(data["text"])
    assert [name for name, _ in found][-1] == "end"
    without = [event for event in events(service, q=text) if event[0] != "partial"]
    assert [event for event in found if event[0] == "end"] == without[-1:]


def test_mistakes_come_before_the_stream(service: RunningService) -> None:
    for wrong in ({"target": "xx"}, {"q": ""}, {"alternatives": -1}, {"alignment": "yes"}):
        question = {"q": TEXT, "source": "auto", "target": "en", **wrong}
        status, answer, _ = service.ask(
            "/tfm/translate", question, headers={"Accept": "text/event-stream"}
        )
        assert (status, list(answer)) == (400, ["error"])


def test_info(service: RunningService) -> None:
    from tfm.runtime import __version__

    assert service.ask("/tfm/info")[1] == {
        "version": __version__,
        "models": [
            {"source": "zh", "target": "en", "name": "zh-en", "variant": "int8"},
            {"source": "en", "target": "zh", "name": "en-zh", "variant": "int8"},
        ],
        "engine": "server",
    }
