"""MTranServer's, DeepLX' and Immersive Translate's shapes; DeepL's beyond its own client."""

from helpers.service import RunningService


def test_mtran(service: RunningService) -> None:
    body = {"from": "zh-Hans", "to": "en"}
    texts = ["我爱你。", "", "今天天气很好。"]
    expected = service.translate(texts)["translatedText"]
    assert service.ask("/translate/batch", {**body, "texts": texts})[1] == {"results": expected}
    assert service.ask("/translate", {**body, "text": texts[0]})[1] == {"result": "I love you."}
    html = {**body, "text": "<b>我爱你。</b>", "html": True}
    assert service.ask("/translate", html)[1] == {"result": "<b>I love you.</b>"}


def test_deeplx(service: RunningService) -> None:
    status, answer, _ = service.ask("/deeplx", {"text": "我想喝一杯茶。", "target_lang": "EN"})
    expected = service.translate("我想喝一杯茶。", alternatives=3)
    assert status == answer["code"] == 200
    assert answer["data"] == expected["translatedText"]
    assert answer["alternatives"] == expected["alternatives"]
    assert (answer["source_lang"], answer["target_lang"]) == ("ZH", "EN")
    wrong = service.ask("/deeplx", {"text": "好", "target_lang": "XX"})[1]
    assert wrong["code"] == 400


def test_immersive_translate(service: RunningService) -> None:
    texts = ["我爱{0}。", "我住在<b0>北京</b0>。", "I love you.", "a < b 我爱你。"]
    body = {"source_lang": "auto", "target_lang": "en", "text_list": texts}
    translations = service.ask("/imme", body)[1]["translations"]
    assert [t["detected_source_lang"] for t in translations] == ["zh-CN", "zh-CN", "en", "zh-CN"]
    first, second, third, fourth = (t["text"] for t in translations)
    assert "{0}" in first
    assert second.replace("<b0>", "").replace("</b0>", "") == "I live in Beijing."
    assert "Beijing</b0>" in second
    assert third == "I love you."
    assert "&lt;" not in fourth


def test_deepl_as_a_form(service: RunningService) -> None:
    form = (
        "text=%E6%88%91%E7%88%B1%E4%BD%A0%E3%80%82&text=%E8%B0%A2%E8%B0%A2%E3%80%82&target_lang=EN"
    )
    answer = service.ask("/v2/translate", form=form)[1]["translations"]
    assert [t["text"] for t in answer] == ["I love you.", "Thank you."]
    too_many = {"text": ["好"] * 51, "target_lang": "EN"}
    status, wrong, _ = service.ask("/v2/translate", too_many)
    assert (status, "50" in wrong["message"]) == (400, True)
