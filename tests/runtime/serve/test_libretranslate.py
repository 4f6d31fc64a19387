"""LibreTranslate's API in all of its ways, beside what its clients use."""

from urllib.parse import urlencode

import pytest
from helpers.service import RunningService

from tfm.runtime import Translator
from tfm.runtime.documents import parse_html

TWO = "我爱你。今天天气很好。"


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator(intra_threads=1)


def test_json_form_and_query_say_the_same(service: RunningService) -> None:
    values = {"q": TWO, "source": "zh", "target": "en", "alternatives": "2"}
    expected = service.translate(TWO, alternatives=2)
    assert service.ask("/translate", form=urlencode(values))[1] == expected
    assert service.ask(f"/translate?{urlencode(values)}", method="POST")[1] == expected
    parts = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in values.items()
    )
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert service.ask("/translate", f"{parts}--x--\r\n".encode(), headers=kind)[1] == expected


def test_lines_of_a_form_are_lines(service: RunningService) -> None:
    form = urlencode({"q": "我爱你。\r\n\r\n你好。", "source": "zh", "target": "en"})
    answer = service.ask("/translate", form=form)[1]["translatedText"]
    assert answer.split("\n")[:2] == ["I love you.", ""]
    assert "\r" not in answer


def test_alternatives_are_the_n_best(service: RunningService, translator: Translator) -> None:
    hypotheses = translator.translate("我想喝一杯茶。", num_hypotheses=4).hypotheses
    texts = list(dict.fromkeys(hypothesis.text for hypothesis in hypotheses))
    answer = service.translate("我想喝一杯茶。", alternatives=3)
    assert [answer["translatedText"], *answer["alternatives"]] == texts
    answer = service.translate(["我想喝一杯茶。", ""], alternatives=3)
    assert answer["alternatives"] == [texts[1:], []]


def test_alternatives_of_a_text_differ_in_one_sentence_first(
    service: RunningService, translator: Translator
) -> None:
    best = [hypotheses(translator, text) for text in ("我爱你。", "今天天气很好。")]
    answer = service.translate(TWO, alternatives=3)
    assert answer["translatedText"] == f"{best[0][0]} {best[1][0]}"
    # The second sentence's alternatives cost less than the first one's.
    assert answer["alternatives"] == [f"{best[0][0]} {text}" for text in best[1][1:4]]


def hypotheses(translator: Translator, text: str) -> list[str]:
    found = translator.translate(text, num_hypotheses=4).hypotheses
    return list(dict.fromkeys(hypothesis.text for hypothesis in found))


def test_nothing_is_dropped(service: RunningService, translator: Translator) -> None:
    sentences = ["我爱你。", "你叫什么名字？", "今天天气很好。", "我想喝一杯茶。"] * 5
    expected = " ".join(translation.text for translation in translator.translate_batch(sentences))
    assert service.translate("".join(sentences))["translatedText"] == expected


def test_what_is_no_language_comes_back(service: RunningService) -> None:
    for text in ("🙂🙂 👍🏽", "1234", "…", "\n  \n", "Привет, мир"):
        answer = service.translate(text, source="auto")
        assert answer["translatedText"] == text
        assert answer["detectedLanguage"] == {"confidence": 0.0, "language": "en"}
    assert service.translate("I love you.", source="auto")["translatedText"] == "I love you."
    assert service.translate(["🙂", "我爱你。"])["translatedText"] == ["🙂", "I love you."]


def test_each_text_of_a_list_has_its_language(service: RunningService) -> None:
    answer = service.translate(["我爱你。", "I love you."], source="auto")
    assert [found["language"] for found in answer["detectedLanguage"]] == ["zh-Hans", "en"]
    assert answer["translatedText"] == ["I love you.", "I love you."]


def test_html(service: RunningService, translator: Translator) -> None:
    page = '<p class="cls">我住在<b>北京</b>。</p><script>我爱你()</script>'
    document = parse_html(page, "zh", "en")
    sentences = [segment.text for segment in document.segments]
    expected = document.assemble(translator.translate_batch(sentences, with_alignment=True))
    answer = service.translate(page, source="auto", format="html", alternatives=2)
    assert answer["translatedText"] == expected
    assert "<script>我爱你()</script>" in expected
    assert "Beijing</b>" in expected
    assert answer["alternatives"] == []
    assert answer["detectedLanguage"]["language"] == "zh-Hans"


def test_detect(service: RunningService) -> None:
    ask = service.ask
    assert ask("/detect", {"q": "我爱 you"})[1] == [
        {"confidence": 66.7, "language": "zh-Hans"},
        {"confidence": 33.3, "language": "en"},
    ]
    assert ask("/detect", form="q=%E5%A5%BD")[1] == [{"confidence": 100.0, "language": "zh-Hans"}]
    assert ask("/detect", {"q": "🙂"})[1] == [{"confidence": 0.0, "language": "en"}]


def test_languages_and_settings(service: RunningService, limited: RunningService) -> None:
    assert service.ask("/languages")[1] == [
        {"code": "en", "name": "English", "targets": ["en", "zh-Hans"]},
        {"code": "zh-Hans", "name": "Chinese", "targets": ["en", "zh-Hans"]},
    ]
    settings = limited.ask("/frontend/settings")[1]
    assert (settings["charLimit"], settings["apiKeys"], settings["keyRequired"]) == (40, True, True)
    assert settings["language"]["target"] == {"code": "en", "name": "English"}
    # This one has no model for that.
    status, answer, _ = limited.ask(
        "/translate", {"q": "I", "source": "en", "target": "zh", "api_key": "right"}
    )
    assert status == 400
    assert "no model translates from en to zh" in answer["error"]


def test_other_sites_may_ask(service: RunningService) -> None:
    origin = {"Origin": "https://example.org"}
    assert service.ask("/languages", headers=origin)[2]["access-control-allow-origin"] == "*"
    wrong = service.ask("/translate", {}, headers=origin)
    assert (wrong[0], wrong[2]["access-control-allow-origin"]) == (400, "*")
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-y"}
    asked["Access-Control-Request-Headers"] = "authorization,content-type"
    status, _, headers = service.ask("/translate", headers={**origin, **asked}, method="OPTIONS")
    assert status == 200
    assert "POST" in headers["access-control-allow-methods"]


def test_metrics(service: RunningService, limited: RunningService) -> None:
    before = service.metric("tfm_characters_total")
    service.translate("我爱你。")
    assert service.metric("tfm_characters_total") == before + 4
    assert service.metric("process_resident_memory_bytes") > 10e6
    assert limited.ask("/metrics")[0] == 403
    key = {"Authorization": "Bearer right"}
    status, text, headers = limited.ask("/metrics", headers=key)
    assert (status, headers["content-type"].split(";")[0]) == (200, "text/plain")
    parser = pytest.importorskip("prometheus_client.parser")
    names = {family.name for family in parser.text_string_to_metric_families(text)}
    assert {"tfm_requests", "tfm_request_seconds", "tfm_batch_sentences"} <= names
